"""What holds for every model of this kind, in the words of the model card, the page of `fer.serve` and whoever else must say it."""

FACES = "Frontal faces in fair light. Turned, covered and small faces are missed or misread."
FAIRNESS = "Whether it works equally well for people of any age, gender and skin colour was not measured: the data does not say."
FEELINGS = (
    "An action unit is a movement, an emotion label is what a viewer or an actor called a picture. Neither is what somebody feels "
    "(Barrett et al., Emotional expressions reconsidered, 2019)."
)
MISUSE = (
    "Decisions about a person: hiring, school, insurance, credit, policing, courts, borders, care. In the European Union, inferring "
    "emotions at work and in education is forbidden but for medical and safety reasons (Regulation 2024/1689, article 5).",
    "Finding out what somebody feels, thinks or intends, whether somebody lies, or whether somebody is ill.",
    "Watching people who do not know of it or did not agree.",
    "Anything where one wrong answer harms somebody.",
)

NEUTRAL_PROTOCOL = "each picture was compared with a neutral one of the same person"
