"""Serve: a page in the browser and POST /predict, both on this machine alone unless host says otherwise.

Drop a picture or use the camera: every face with its emotion and active units, and the known limits of the model. Nothing is sent
elsewhere, and no picture is written to disk. What POST /predict takes and answers is at /docs. Ctrl-C ends it.
"""

from __future__ import annotations

from fer.cli.command import Call, command
from fer.config import ServeConfig
from fer.runs.folder import find_checkpoint


def run(cfg: ServeConfig, call: Call) -> None:
    """Serves until Ctrl-C."""
    assert cfg.checkpoint is not None  # config.check
    find_checkpoint(cfg.checkpoint)
    from fer.use.packages import needed

    for package in ("fastapi", "uvicorn", "python_multipart"):
        needed(package, "to serve a page")
    # what reads pictures, runs networks and serves: only now that the settings are known to be good
    from fer.use.predictor import load
    from fer.use.serving.listening import listen, listener
    from fer.use.serving.server import build_app

    with listener(cfg.host, cfg.port) as sock:  # before the model: a taken port is found at once
        predictor = load(cfg.checkpoint, accelerator=cfg.accelerator)
        predictor.facts.refuse_pairs("fer.serve")
        listen(build_app(predictor, cfg), sock)


main = command("serve", run)

if __name__ == "__main__":
    main()
