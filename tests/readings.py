"""Readings made by hand, so that the tests of their files need no model. All councils are invented."""

from findings.about import About, Judgement
from findings.reading import Labelled, Reading

ABOUT = About(
    authority="Examplemoor Council",
    kind="inspection_report",
    framework="ilacs_2023",
    inspection_start="2024-03-11",
    inspection_end="2024-03-22",
    published="2024-05-07",
    judgements={
        "care_leavers": Judgement("unreadable", 2),
        "overall": Judgement("requires_improvement", 1),
        "leaders": Judgement("good", 1),
    },
)

HOSTILE = [
    "<script>window.ran = 1</script> should be text.",
    "<svg onload=\"window.ran = 1\"><image href=x onerror='window.ran = 1'>",
    "\"><img src=x onerror=window.ran=1> and 'quotes' & &lt;entities&gt;",
    "javascript:window.ran=1 <a href='javascript:window.ran=1'>here</a>",
    "</style></script><!-- <iframe srcdoc='<script>parent.ran=1</script>'>",
    "The grade is \u202etnellecxe\u202c and \u2066not\u2069 \u200fso\u061c.",
    "Zero \x00 and bell \x07 and escape \x1b and delete \x7f and \x85.",
    "A lone surrogate \ud800 and no character \uffff.",
    '=HYPERLINK("http://example.invalid","x")',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1,1)",
    "http://example.invalid is not a link, nor is www.example.invalid, nor [this](http://example.invalid).",
    "# no heading | no cell * no *emphasis* `no code` ~~no~~ _no_ $x$ ![](x)",
]
"""Sentences that would do harm where they were taken for anything but text."""


SHA256 = "0" * 64
BY = "findings version 7 (run 1a2b3c4d)"


def labelled(
    sentence, finding="strength", probability=0.9, themes=(), *, heading="", page=1, paragraph=None, listed=False
):
    """A sentence with its labels; its place in the text is of no interest."""
    return Labelled(sentence, finding, probability, list(themes), heading, page, paragraph, listed, 0, len(sentence))


def small():
    """A reading with every finding, several themes, a sentence to review and a heading that is a sentence."""

    def summary(text, finding, probability, themes, *place):
        page, paragraph = place
        return labelled(text, finding, probability, themes, heading="Summary", page=page, paragraph=paragraph)

    last = {"heading": "What should be better", "page": 2, "listed": True}
    return Reading(
        "examplemoor.pdf",
        SHA256,
        3,
        BY,
        ABOUT,
        [
            labelled("Examplemoor lies on the coast.", "none", 0.98),
            summary("Visits are too seldom.", "concern", 0.95, ["assessment_planning"], 1, 1),
            summary("Leaders know their services.", "strength", 0.97, ["leadership"], 1, 2),
            summary("Leaders listen to workers.", "strength", 0.91, ["leadership", "workforce"], 1, 2),
            summary("Leaders spend with care.", "strength", 0.999, ["leadership"], 2, 3),
            summary("Some plans may drift.", "concern", 0.41, ["assessment_planning"], 2, 3),
            summary("What should be better", "none", 0.88, [], 2, None),
            labelled("The number of visits.", "recommendation", 0.99, ["voice"], **last),
        ],
    )


def hostile():
    """A reading all of whose texts are hostile: sentences, headings, names."""
    about = About(authority=HOSTILE[0], kind=HOSTILE[1], published=HOSTILE[5], lead_inspector=HOSTILE[8])
    headings = [*HOSTILE[2:], *HOSTILE[:2]]
    rows = [labelled(text, heading=heading) for text, heading in zip(HOSTILE, headings, strict=True)]
    return Reading("x\n" + HOSTILE[5] + HOSTILE[1], SHA256, 1, BY, about, rows)


def long(sentences=1000):
    """A reading as long as that of a report of forty pages."""
    findings = ("strength", "concern", "recommendation", "none")
    themes = ("leadership", "workforce", "voice", "children_in_care")
    text = "In the borough of Examplemoor the plan number {} is reviewed on time, shared with the family and {}."
    return Reading(
        "long.pdf",
        SHA256,
        40,
        BY,
        ABOUT,
        [
            labelled(
                text.format(i, "kept in a place where the next worker finds it" if i % 2 else "seldom read again"),
                findings[i % 4],
                0.5 + (i % 50) / 100,
                themes[i % 5 : i % 5 + i % 3],
                heading=f"Part {i // 20} of the document",
                page=i // 25 + 1,
                paragraph=i // 4,
            )
            for i in range(sentences)
        ],
    )
