"""Make a file of decisions: 60 invented messages to a shop, questions about each, and answers with probabilities.

    python tools/make_decisions.py cases.jsonl

Nobody wrote these messages. They are put together from a few phrases, each of which says how the answers shift; the shares are
what ten readers who differ a little would have said. Every sixth case asks fewer questions, every seventh lacks an answer, and
states are texts and objects in turn, so that a reader of the format meets all of its forms.
"""

import json
import random
import sys
from pathlib import Path
from typing import Any

N_CASES = 60
READERS = 10

# What is said -> (urgency, team, anger, days that an answer may take): where most readers see it.
OPENINGS = {
    "My parcel has not arrived and I need it tomorrow.": (0.95, "shipping", 1, 1),
    "I was charged twice for one order.": (0.7, "billing", 1, 3),
    "Do you also sell left-handed scissors?": (0.05, "sales", 0, 10),
    "The app closes whenever I open my basket.": (0.5, "technical support", 1, 5),
    "Please send me an invoice for last month.": (0.2, "billing", 0, 7),
    "The wrong colour came, which is no hurry.": (0.1, "shipping", 0, 14),
}
ENDINGS = {
    "Thank you for your help!": (-0.1, -1, 2),
    "This is the third time that I write.": (0.2, 1, -2),
    "I am very disappointed.": (0.1, 1, -1),
    "Kind regards": (0.0, 0, 0),
    "": (0.0, 0, 0),
}
TEAMS = ("billing", "sales", "shipping", "technical support")
QUESTIONS: dict[str, dict[str, Any]] = {
    "urgent": {"type": "noul", "instructions": "Is it urgent?"},
    "team": {"type": "choice", "instructions": "Which team should answer?", "criteria": dict.fromkeys(TEAMS)},
    "anger": {"type": "score", "instructions": "How angry is the writer?", "criteria": ["calm", "annoyed", "angry"]},
    "polite": {
        "type": "noul",
        "instructions": "Is it polite?",
        "criteria": {"true": "It thanks, greets or asks.", "false": "It demands or blames."},
    },
    "days": {
        "type": "number",
        "instructions": "Within how many days should it be answered?",
        "minimum": 0,
        "maximum": 14,
        "step": 1,
    },
}


def case(number: int) -> dict[str, Any]:
    """One line of the file; the same number always gives the same."""
    draw = random.Random(number)
    opening, ending = draw.choice(list(OPENINGS)), draw.choice(list(ENDINGS))
    urgency, team, anger, days = OPENINGS[opening]
    more_urgent, more_angry, more_days = ENDINGS[ending]
    yes = sum(draw.random() < urgency + more_urgent for _ in range(READERS)) / READERS
    others = [name for name in TEAMS if name != team]
    chosen = [team if draw.random() < 0.85 else draw.choice(others) for _ in range(READERS)]
    seen = [min(2, max(0, anger + more_angry + draw.choice((-1, 0, 0, 0, 1)))) for _ in range(READERS)]
    polite = sum(draw.random() < 0.8 - 0.5 * (more_angry > 0) for _ in range(READERS)) / READERS
    answers: dict[str, Any] = {
        "urgent": {"type": "noul", "noul": yes},
        "team": {"type": "choice", "probabilities": {name: chosen.count(name) / READERS for name in TEAMS}},
        "anger": {"type": "score", "probabilities": {str(level): seen.count(level) / READERS for level in range(3)}},
        "polite": {"type": "noul", "noul": polite},
        "days": {"type": "number", "value": min(14, max(0, days + more_days))},
    }
    text = f"{opening} {ending}".strip()
    questions = dict(QUESTIONS)
    if number % 6 == 5:
        questions = {name: QUESTIONS[name] for name in ("team", "urgent")}
        answers = {name: answers[name] for name in questions}
    if number % 7 == 6:
        answers["team"] = None
    state: Any = {"message": text, "hour": draw.randrange(24)} if number % 2 else text
    return {"state": state, "questions": questions, "answers": answers}


def write(path: Path, n_cases: int = N_CASES) -> Path:
    """Write the file."""
    lines = [json.dumps(case(number), ensure_ascii=False) for number in range(n_cases)]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


if __name__ == "__main__":
    print(write(Path(sys.argv[1])))
