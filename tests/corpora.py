"""Small corpora for tests: documents about fictional authorities with the annotations of their sentences."""

import csv
import json
from dataclasses import dataclass, replace
from itertools import cycle

from reportlab.lib.styles import ParagraphStyle
from reportlab.platypus import Paragraph, SimpleDocTemplate

from findings import standoff
from findings.annotations import ANNOTATION_COLUMNS, DOCUMENT_COLUMNS


@dataclass(frozen=True)
class Paper:
    """One document to be written; `sentences` are (sentence, finding, themes separated by blanks)."""

    authority: str
    split: str
    sentences: tuple
    kind: str = "inspection_report"
    published: str = "2024-03-12"
    ending: str = "md"

    @property
    def document_id(self):
        return f"{self.authority.lower().replace(' ', '-')}_{self.published[:4]}_{self.kind}"


def write(folder, papers):
    """Write a corpus folder of these papers and return it."""
    (folder / "documents").mkdir(parents=True)
    (folder / "annotations").mkdir()
    table = []
    for paper in papers:
        name = paper.document_id
        text = _text(paper)
        (folder / "documents" / f"{name}.{paper.ending}").write_text(text, encoding="utf-8")
        spans = sorted(
            (text.index(sentence), sentence, finding, themes) for sentence, finding, themes in paper.sentences
        )
        rows = [
            (f"{name}-{number:03}", start, start + len(sentence), finding, themes, "author", sentence)
            for number, (start, sentence, finding, themes) in enumerate(spans, 1)
        ]
        _save(folder / "annotations" / f"{name}.csv", [ANNOTATION_COLUMNS, *rows])
        table.append((name, f"{name}.{paper.ending}", paper.kind, paper.authority, paper.published, paper.split))
    _save(folder / "documents.csv", [DOCUMENT_COLUMNS, *table])
    return folder


BODY = ParagraphStyle("body", fontName="Helvetica", fontSize=11, leading=14, spaceAfter=12)
BULLET = ParagraphStyle("bullet", parent=BODY, leftIndent=18, bulletIndent=4)
TITLE = ParagraphStyle("title", fontName="Helvetica-Bold", fontSize=22, leading=30, spaceAfter=12)
HEADING = ParagraphStyle("heading", fontName="Helvetica-Bold", fontSize=15, leading=20, spaceAfter=10)


def write_standoff(folder, papers):
    """Write papers as published reports: PDFs in `reports/`, their labels without text beside it.
    The reports' ids count from 1001. Returns the folder."""
    (folder / "reports").mkdir(parents=True)
    rows = []
    for number, paper in enumerate(papers, 1001):
        write_report(folder / "reports" / f"{number}.pdf", paper)
        rows += [
            {
                "id": f"{number}-{place}",
                "source_file_id": str(number),
                "authority": paper.authority,
                "published": paper.published,
                "kind": paper.kind,
                "page": 1,
                "sentence": sentence,
                "finding": finding,
                "themes": themes.split(),
            }
            for place, (sentence, finding, themes) in enumerate(paper.sentences)
        ]
    lines = folder / "rows.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    made = standoff.make(lines, folder, annotator="author", pdfs=folder / "reports")
    splits = {paper.authority: paper.split for paper in papers}
    standoff.write(replace(made, reports=tuple(replace(r, split=splits[r.authority]) for r in made.reports)))
    return folder


def write_report(path, paper):
    """Write a paper as a PDF of one page: a paragraph for each sentence, recommendations as a list."""
    flow = [Paragraph(f"Inspection of {paper.authority}", TITLE)]
    for heading, findings in (("Background", "none"), ("Main findings", "strength concern")):
        said = [Paragraph(sentence, BODY) for sentence, finding, _ in paper.sentences if finding in findings.split()]
        flow += [Paragraph(heading, HEADING), *said] if said else []
    listed = [sentence for sentence, finding, _ in paper.sentences if finding == "recommendation"]
    if listed:
        flow.append(Paragraph("What needs to improve", HEADING))
        flow += [Paragraph(sentence, BULLET, bulletText="\u2022") for sentence in listed]
    SimpleDocTemplate(str(path), invariant=1).build(flow)


def change(path, row, **cells):
    """Change cells of a CSV file; rows count from 1, the header."""
    rows = _load(path)
    for column, value in cells.items():
        rows[row - 1][rows[0].index(column)] = str(value)
    _save(path, rows)


def append(path, *rows):
    """Add rows to a CSV file."""
    _save(path, [*_load(path), *rows])


def drop_column(path, column):
    """Take a column out of a CSV file."""
    rows = _load(path)
    position = rows[0].index(column)
    _save(path, [[*row[:position], *row[position + 1 :]] for row in rows])


def cells(path, row):
    """The cells of one row of a CSV file."""
    return _load(path)[row - 1]


def _load(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def _save(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _text(paper):
    """Background, findings, then the recommendations as a list; headings where the form has them."""

    def those(*findings):
        return [sentence for sentence, finding, _ in paper.sentences if finding in findings]

    prose = [("Background", those("none")), ("Main findings", those("strength", "concern"))]
    listed = those("recommendation")
    marked = paper.ending == "md"
    parts = [f"# {paper.authority}"] if marked else []
    for heading, sentences in prose:
        if sentences:
            parts += [f"## {heading}"] if marked else []
            parts.append(" ".join(sentences))
    if listed:
        parts += ["## What needs to improve"] if marked else []
        parts.append("\n".join(f"- {sentence}" for sentence in listed))
    return "\n\n".join(parts) + "\n"


THEMES = {
    "leadership": (
        "political leadership and governance", "senior leadership and strategic direction",
        "the leadership of the improvement board", "corporate leadership and investment",
        "strategic leadership and self-evaluation", "leadership and governance by the cabinet",
    ),
    "workforce": (
        "the recruitment and retention of the workforce", "workforce stability and caseloads",
        "the training of the workforce", "reliance of the workforce on agency staff",
        "workforce recruitment and agency turnover", "caseloads and training for the workforce",
    ),
    "management_oversight": (
        "management oversight and supervision", "the recording of managers' supervision",
        "day-to-day management oversight of decisions", "reflective supervision by team managers",
        "supervision and managers' decisions", "management oversight by first-line managers",
    ),
    "quality_assurance": (
        "quality assurance and case audits", "performance data and audits",
        "the quality assurance framework", "learning from audits and complaints",
        "audits and performance reports", "quality assurance data and learning",
    ),
    "front_door": (
        "the handling of referrals at the front door", "contacts and thresholds at the front door",
        "the out-of-hours duty team's referrals", "decisions about contacts and consent",
        "referrals to the duty team", "front door thresholds and contacts",
    ),
    "early_help": (
        "early help and family hubs", "preventive early help for families",
        "the early help offer", "step-down to early help", "early help in the family hubs", "prevention and early help",
    ),
    "assessment_planning": (
        "the assessments and plans of children in need", "assessments by social workers",
        "plans, reviews and chronologies", "the updating of assessments",
        "chronologies and assessments", "reviews of plans in the locality teams",
    ),
    "child_protection": (
        "strategy discussions and child protection enquiries", "child protection conferences",
        "work on exploitation and missing children", "child protection enquiries after domestic abuse",
        "strategy discussions about exploitation", "child protection conferences and enquiries",
    ),
    "partnership": (
        "multi-agency working with partners", "information-sharing between agencies",
        "the safeguarding partnership", "partners' multi-agency panels",
        "the partnership's information-sharing", "multi-agency partnership meetings",
    ),
    "voice": (
        "direct work on children's wishes and feelings", "advocacy and participation",
        "listening to children's views", "the participation of parents and children's wishes",
        "advocacy and direct work", "children's participation and views",
    ),
    "children_in_care": (
        "foster placements for children in care", "adoption and permanence",
        "the matching of foster carers", "placements and family time for children in care",
        "permanence and foster placements", "adoption by kin of children in care",
    ),
    "care_leavers": (
        "pathway plans for care leavers", "the local offer to care leavers",
        "personal advisers and accommodation", "housing for young people leaving care",
        "care leavers' pathway plans and housing", "personal advisers for care leavers",
    ),
    "health_education": (
        "health checks and dental care", "the virtual school and attendance",
        "emotional health and mental health services", "education plans and school attendance",
        "school attendance and health checks", "education and emotional health",
    ),
}  # fmt: skip

FRAMES = {
    "strength": (
        "The council has built a strong and effective approach to {x} in {a}.",
        "There is good, thoughtful practice in {x} across {a}.",
        "Families benefit from {x} of a consistently high standard.",
        "The council has significantly improved {x} since the last visit to {a}.",
        "Inspectors saw impressive and timely work on {x}.",
    ),
    "concern": (
        "In {a} the quality of {x} is too variable and often poor.",
        "Weak and inconsistent attention to {x} leaves some people at risk.",
        "There are delays because of shortfalls in {x} across {a}.",
        "There is a lack of rigour in {x}, and progress has been too slow.",
        "Inspectors found serious gaps in {x}.",
    ),
    "recommendation": (
        "The council should improve {x} without further delay.",
        "Ensure that {x} in {a} receives enough time and money.",
        "Strengthen {x} so that everybody gets the right help.",
        "The council should review {x} and report the results to members.",
        "Take urgent steps to raise the standard of {x} in {a}.",
    ),
}

NEUTRAL = (
    "This visit to {a} took place in the second week of March.",
    "Two inspectors carried out the visit under the current framework.",
    "About 41,000 people under the age of 18 live in the area.",
    "The director of children's services took up the post in 2021.",
    "Apologies were received from Councillor Ann Example.",
    "The minutes of the meeting held in January were agreed as a correct record.",
    "Some 212 cases were open on the first day of the visit.",
    "The authority runs two residential homes, each with four beds.",
    "{a} is a unitary authority with nine wards.",
    "The committee will meet again at 6.30pm in the town hall.",
    "Inspectors looked at documents and spoke to staff by telephone.",
    "The previous inspection of the authority was published in 2019.",
    "A spokesperson confirmed that the letter would go to every household.",
    "Photographs on this page were taken at an earlier event.",
    "Members noted the report presented by the head of service.",
    "Around one in five pupils is entitled to free school meals.",
    "The published letter runs to six pages and is addressed to the director.",
    "Councillor Sam Sample declared an interest in item seven.",
    "Three schools in {a} became academies during the year.",
    "The chair thanked officers and closed the meeting before nine.",
    "A map of the county can be found on the back cover.",
    "Figures in the table are rounded to the nearest ten.",
)

AUTHORITIES = {
    "train": ("Examplemoor", "Testbury", "Mockshire", "Sampleford"),
    "validation": ("Specimen Vale", "Draftley"),
    "test": ("Trialcombe", "Pilotby"),
}


def write_corpus(folder):
    """Write a learnable corpus: 8 authorities, 16 documents in all four kinds, 150 sentences; each
    split has all findings and themes. Returns the folder."""
    return write(folder, learnable())


def learnable():
    """The papers of `write_corpus`."""
    neutral = iter(NEUTRAL)
    papers = []
    for split, authorities in AUTHORITIES.items():
        labelled = _labelled(split)
        share = 2 * len(authorities)
        kinds = cycle((("inspection_report", "news"), ("visit_letter", "minutes")))
        for place, authority in enumerate(authorities):
            for number, kind in enumerate(next(kinds)):
                part = labelled[2 * place + number :: share]
                plain = [(next(neutral), "none", "") for _ in range(1 if split == "train" else 1 + number)]
                sentences = tuple((text.replace("{a}", authority), *labels) for text, *labels in [*part, *plain])
                ending = "md" if number == 0 else "txt"
                papers.append(Paper(authority, split, sentences, kind, f"{2018 + place}-0{3 + number}-12", ending))
    return papers


def _labelled(split):
    """(sentence, finding, themes): train has two of every finding and theme, the others two of every theme."""
    names = list(THEMES)
    rows = []
    for index, theme in enumerate(names):
        for number, (finding, frames) in enumerate(FRAMES.items()):
            if split == "train":
                uses = ((2 * number + index) % 4, (2 * number + index + 1) % 4)
            else:
                uses = (4 if split == "validation" else 5,) if (index + number) % 3 else ()
            for use in uses:
                phrase, themes = THEMES[theme][use], theme
                if (index + number + use) % 6 == 0:  # some sentences are about two things
                    second = names[(index + 5) % len(names)]
                    phrase, themes = f"{phrase} and {THEMES[second][use]}", f"{theme} {second}"
                rows.append((frames[(index + number + use) % len(frames)].replace("{x}", phrase), finding, themes))
    return rows
