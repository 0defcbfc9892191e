"""What the baseline can do, capability by capability, in the manner of CheckList (Ribeiro et al. 2020).

Minimum functionality: short sentences with one right answer. Invariance: changes that must not
change the finding. Direction: changes that must move it one way. Each capability passes at a rate;
the rate asked for lies some cases below the one measured, and `pytest -s` prints what is reached.
The cases are written for these tests; none is in the corpus.

A linear model has no clauses and knows few negated words: four capabilities that it does not have
(a rate of one half or less) are measured and printed and ask for nothing (`NOT_ASKED`).
"""

import numpy as np
import pytest
from omegaconf import OmegaConf

from findings import config, dataset, models, taxonomy

NOT_ASKED = 0.0
LEADERS, HELP, IMPROVE = "The impact of leaders", "The experiences of children who need help", "What needs to improve"


@pytest.fixture(scope="session")
def baseline():
    settings = config.load()
    labels = taxonomy.load()
    built = dataset.build(dataset.default_folder(), name="authored", source="authored", taxonomy=labels)
    rows = {split: models.examples(frame, labels) for split, frame in built.rows.items()}
    family = OmegaConf.to_container(settings.model, resolve=True)
    return models.train(family, rows["train"], rows["validation"], labels, int(settings.seed))


def findings(model, sentences, headings=None):
    predictions = model.predict(list(sentences), headings)
    return [model.taxonomy.finding_ids[i] for i in predictions.findings]


def probability(model, sentences, finding):
    index = model.taxonomy.finding_ids.index(finding)
    return model.predict(list(sentences)).finding_probabilities[:, index]


def passes(capability, passed, cases, at_least):
    """The rate of `passed`, printed; below `at_least` the test fails and names what went wrong."""
    rate = float(np.mean(passed))
    failed = [case for case, right in zip(cases, passed, strict=True) if not right]
    wanted = f", {at_least:.0%} wanted" if at_least else ", not asserted"
    print(f"\n{capability}: {rate:.0%} of {len(cases)}{wanted}")
    for case in failed:
        print(f"    failed: {case}")
    assert len(cases) >= 20
    if at_least:
        assert rate >= at_least, f"{capability}: {rate:.0%} of {len(cases)}{wanted}; failed: {failed}"


# Minimum functionality ---------------------------------------------------------------------------

PLAIN_STRENGTHS = """
Social workers know children well and visit them often.
Managers provide regular and reflective supervision.
Leaders have a clear understanding of what works well.
Assessments are thorough and analyse risk well.
Children's views are central to their plans.
Foster carers feel well supported and valued.
Partnership working with the police is strong.
Decisions at the front door are timely and proportionate.
Personal advisers are persistent in keeping in touch with care leavers.
The virtual school provides effective support for children.
Caseloads have reduced and are manageable.
Audits are rigorous and lead to better practice.
Early help is well coordinated and makes a positive difference.
Children benefit from stable and loving homes.
Workers build trusting relationships with families.
Strategy meetings are held promptly and are well attended.
Permanence is achieved quickly for most children.
Staff morale is high and turnover is low.
Disabled children receive well-planned and sensitive care.
Advocacy is offered to every child and is used well.
""".strip().splitlines()

PLAIN_CONCERNS = """
Caseloads are too high and social workers feel overwhelmed.
Supervision is irregular and lacks challenge.
Too many children wait too long for an assessment.
Plans are vague and do not set clear timescales.
Managers' oversight is weak and drift is common.
Children have experienced too many changes of social worker.
Audits are over-optimistic and miss poor practice.
Care leavers live in unsuitable accommodation.
Thresholds are not understood by partner agencies.
Health assessments are routinely late.
Return home interviews are rarely completed.
Leaders did not act quickly enough on known weaknesses.
Some children remain in neglectful homes for too long.
Records are incomplete and out of date.
Visits to children are infrequent and superficial.
There are insufficient foster carers in the borough.
Strategy discussions are delayed and poorly recorded.
The emergency duty team is overstretched.
Pathway plans are poor and young people are not involved in them.
Performance data is unreliable.
""".strip().splitlines()

NEGATED_STRENGTHS = """
Supervision is not regular.
Plans are not clear.
Assessments do not analyse risk well.
Managers do not provide effective oversight.
Children are not seen often enough.
Social workers do not know their children well.
Leaders do not have a clear understanding of practice.
The local offer is not well known to young people.
Decisions are not timely.
Foster carers do not feel supported.
Information is not shared promptly with schools.
Children's views are not central to their plans.
Audits do not lead to better practice.
Thresholds are not applied consistently.
Visits are not purposeful.
Chronologies are not used effectively.
Partnership working is not strong.
Care leavers are not helped to find suitable homes.
Staff are not well trained.
Reviews are not held on time.
The virtual school does not have a strong enough grip on attendance.
Health needs are never properly assessed.
""".strip().splitlines()

NEGATED_CONCERNS = """
No child was found to be at immediate risk.
There are no delays in allocating work.
No care leavers live in bed and breakfast accommodation.
Children do not have to wait for an assessment.
There is no drift in planning.
Thresholds leave no child without help.
No children are placed in unregistered homes.
Leaders are not complacent.
Social workers do not have excessive caseloads.
There is no waiting list for early help.
Inspectors saw no unsafe decisions.
Children never wait long for a visit.
Managers do not tolerate delay.
No case was without a clear plan.
There were no unallocated cases.
Children are never placed at a distance without good reason.
Staff do not feel overwhelmed.
Concerns are never ignored.
Reviews are not late.
Poor practice does not go unchallenged.
""".strip().splitlines()

HEDGED_CONCERNS = """
Supervision is not always regular.
Plans do not consistently set out what must change.
Assessments vary in quality.
Some children wait longer than they should for a visit.
The quality of recording is variable.
A small number of care leavers are not in touch with their adviser.
In a minority of cases, risk is not fully understood.
Management oversight is not yet consistently effective.
Return interviews are not always timely.
The impact of audits is not yet evident.
For some children, permanence is not considered early enough.
Life-story work is not routinely completed.
Practice remains inconsistent across teams.
Not all children have an up-to-date plan.
Chronologies are sometimes missing.
A few strategy discussions take place without health professionals.
Decisions are occasionally delayed.
The voice of the child could be stronger in some records.
Progress has been slower than leaders had hoped.
Supervision does not always help staff to reflect.
Thresholds are not always well understood by partners.
""".strip().splitlines()

HEDGED_STRENGTHS = """
Most children are seen regularly by their social workers.
Supervision is mostly regular.
In most cases, assessments are thorough.
Generally, plans are clear and purposeful.
The majority of care leavers live in suitable homes.
Visits are usually timely.
Almost all children have a permanent social worker.
Partnership working is generally strong.
Most foster carers feel well supported.
Decisions are typically timely and proportionate.
Children mostly live in stable homes.
Nearly all health assessments are completed on time.
The quality of assessments is broadly good.
Social workers usually know their children well.
Strategy meetings are in the main well attended.
The great majority of staff enjoy working in the borough.
Early help is largely effective.
Records are mostly up to date.
Audits are generally accurate.
Most young people are in education, employment or training.
""".strip().splitlines()

PAIRS = [
    ("supervision is regular", "recording lacks depth"),
    ("plans are clear", "reviews are not held often enough"),
    ("visits are frequent", "too many children wait for an assessment"),
    ("leaders know the weaknesses", "progress has been too slow"),
    ("social workers are committed", "caseloads are too high"),
    ("assessments are timely", "too many plans lack analysis"),
    ("strategy meetings are prompt", "health professionals rarely attend"),
    ("children's views are sought", "plans do not reflect what children say"),
    ("the local offer is broad", "few care leavers know about the help available"),
    ("audits are regular", "learning is not embedded"),
    ("early help is well resourced", "families wait too long for a worker"),
    ("thresholds are clear", "some referrals are closed too soon"),
    ("foster carers are well trained", "there are too few local homes"),
    ("the virtual school is ambitious", "too many children are excluded"),
    ("partnership working is strong", "information is shared too late"),
    ("training is plentiful", "staff turnover remains high"),
    ("pathway plans are up to date", "young people do not feel listened to"),
    ("return interviews are timely", "intelligence is not brought together"),
    ("managers record their decisions", "oversight of drift is weak"),
    ("permanence is considered early", "delays in court hold children back"),
]

CAN_BE_NEGATED = """
Supervision is {}regular.
Plans are {}clear.
Visits are {}purposeful.
Decisions are {}timely.
Assessments are {}thorough.
Partnership working is {}effective.
Strategy meetings are {}well attended.
Children are {}seen on their own.
Children's views are {}central to their plans.
Chronologies are {}used well.
Thresholds are {}applied consistently.
Foster carers are {}well supported.
Pathway plans are {}ambitious.
Staff are {}well trained.
Audits are {}rigorous.
Referrals are {}dealt with promptly.
Return interviews are {}completed on time.
Advocacy is {}offered to children.
Health needs are {}met quickly.
Care leavers are {}helped to find suitable homes.
Permanence is {}considered early.
Early help is {}well coordinated.
""".strip().splitlines()

DIRECTIVES = """
Ensure that all children are visited within the required timescales.
Improve the quality of supervision.
Review the arrangements for out-of-hours cover.
Strengthen management oversight of the duty team.
Make sure that care leavers know what they are entitled to.
Reduce the caseloads of newly qualified social workers.
The council should take action to improve the timeliness of health assessments.
Leaders must make certain that audits lead to change.
Increase the number of local foster homes.
Develop a clear strategy for neglect.
The director should report on progress to the committee each quarter.
Establish a process for tracking pre-proceedings work.
Embed learning from complaints across the service.
Provide every child with an advocate.
Accelerate the recruitment of permanent social workers.
The authority should ensure that return interviews are completed within 72 hours.
Partners must agree a shared threshold document.
Put in place a plan to reduce drift and delay.
Monitor the use of unregistered homes closely.
Members recommended that the cabinet invest in early help.
Set out clearly who is responsible for each action.
""".strip().splitlines()

NOUN_PHRASES = """
The quality and frequency of supervision.
The timeliness of dental checks for children in care.
Management oversight of the front door.
The number of foster homes for teenagers.
The consistency of pathway plans.
The use of chronologies in assessments.
The stability of the workforce.
Recording of strategy discussions.
The response to children who go missing.
The quality of audits and their impact on practice.
The suitability of accommodation for care leavers.
Access to emotional health services.
The sharing of information between agencies.
Children's participation in their reviews.
The timeliness of permanence decisions.
Life-story work for children in care.
The quality of return home interviews.
Step-down arrangements to early help.
The analysis of risk in child protection plans.
The oversight of children in unregistered homes.
""".strip().splitlines()

FURNITURE = """
Page 7 of 12
Inspection of Examplemoor local authority children's services
Inspection dates: 5 to 16 May 2031
Lead inspector: A. N. Invented, His Majesty's Inspector
Telephone: 01632 960 000
www.examplemoor.example/committees
To be published on 18 April 2024
Dear Ms Invented and colleagues,
With good wishes from us both,
© Crown copyright 2024
Minutes of the meeting held on Tuesday 6 February 2024
Present: Councillors Invented (Chair), Madeup and Fabled
Apologies for absence were received from Councillor Fabled.
The meeting closed at 8.45 pm.
Agenda item 6(c): any other urgent business
Share this story | Print | Comments (12)
By our education reporter, Monday 3 June 2024
Contents
The minutes of the previous meeting were agreed as a correct record.
Date of next meeting: 12 March 2024
Examplemoor Town Hall, High Street, Examplemoor EX1 1AA
Cookies | Privacy | Contact us
Declarations of interest: none were made.
The report was prepared by the Head of Democratic Services.
""".strip().splitlines()

BACKGROUND = """
This inspection took place over two weeks in May.
Inspectors read 40 case files and spoke to 25 social workers.
At 31 March there were 320 children in care.
The director of children's services has been in post since 2021.
The previous inspection was in June 2019.
The local authority operates two children's homes.
Examplemoor has a population of 214,000.
The report was published on the council's website in April.
Ofsted inspects local authority children's services under this framework.
The committee will consider the matter at its next meeting.
Four looked after children live outside the county.
Councillor Invented asked how many staff the team has.
The letter was sent to the chief executive on Monday.
The team is made up of six social workers and two advisers.
The visit looked at the arrangements for care leavers.
The council employs 180 social workers.
A further monitoring visit will take place in the autumn.
About 21% of the population is under the age of 18.
Inspectors met the lead member and the chief executive.
The service was restructured in 2022.
""".strip().splitlines()


@pytest.mark.parametrize(
    ("capability", "sentences", "finding", "at_least"),
    [
        ("plain strength", PLAIN_STRENGTHS, "strength", 0.75),
        ("plain concern", PLAIN_CONCERNS, "concern", 0.5),
        ("negation of a strength", NEGATED_STRENGTHS, "concern", NOT_ASKED),
        ("negation of a concern", NEGATED_CONCERNS, "strength", NOT_ASKED),
        ("hedged strength", HEDGED_STRENGTHS, "strength", 0.75),
        ("hedged concern", HEDGED_CONCERNS, "concern", 0.7),
        ("directive", DIRECTIVES, "recommendation", 0.65),
        ("page furniture", FURNITURE, "none", 0.85),
        ("background", BACKGROUND, "none", 0.8),
    ],
)
def test_finding_without_a_heading(baseline, capability, sentences, finding, at_least):
    passes(capability, [f == finding for f in findings(baseline, sentences)], sentences, at_least)


def test_noun_phrase_under_an_improvement_heading_is_a_recommendation(baseline):
    given = findings(baseline, NOUN_PHRASES, [IMPROVE] * len(NOUN_PHRASES))
    passes("noun phrase to improve", [f == "recommendation" for f in given], NOUN_PHRASES, 0.85)


def joined(pattern, pair):
    text = pattern.format(*pair)
    return text[0].upper() + text[1:]


@pytest.mark.parametrize(
    ("capability", "pattern", "finding", "at_least"),
    [
        ("although strength, concern", "Although {0}, {1}.", "concern", 0.6),
        ("strength, but concern", "{0}, but {1}.", "concern", 0.7),
        ("although concern, strength", "Although {1}, {0}.", "strength", NOT_ASKED),
    ],
)
def test_contrast_goes_by_its_main_clause(baseline, capability, pattern, finding, at_least):
    sentences = [joined(pattern, pair) for pair in PAIRS]
    passes(capability, [f == finding for f in findings(baseline, sentences)], sentences, at_least)


# Direction: the change must move the probability one way -----------------------------------------


@pytest.mark.parametrize(("word", "at_least"), [("not ", 0.8), ("not always ", 0.8), ("rarely ", 0.8)])
def test_negating_a_strength_makes_a_concern_likelier(baseline, word, at_least):
    before = probability(baseline, [s.format("") for s in CAN_BE_NEGATED], "concern")
    after = probability(baseline, [s.format(word) for s in CAN_BE_NEGATED], "concern")
    passes(f"'{word}' raises the concern", after > before, CAN_BE_NEGATED, at_least)


def test_main_clause_pulls_towards_itself(baseline):
    """The same two clauses, one way round and the other: a concern is likelier with the concern last."""
    last = probability(baseline, [joined("Although {0}, {1}.", pair) for pair in PAIRS], "concern")
    first = probability(baseline, [joined("Although {1}, {0}.", pair) for pair in PAIRS], "concern")
    passes("although, one way round and the other", last > first, PAIRS, NOT_ASKED)


# Invariance: the change must leave the finding -----------------------------------------------------

WITH_AUTHORITY = """
Leaders in {} have improved services for children.
Children in {} wait too long for an assessment.
{} should ensure that every child is visited on time.
Social workers in {} know their children well.
The population of {} is 214,000.
{} has a stable and committed workforce.
The quality of social work practice in {} is too variable.
Inspectors visited {} in May.
Care leavers in {} live in suitable homes.
Too many children from {} are placed at a distance.
{} Council welcomed the report.
The director of children's services in {} took up post last year.
Services in {} have declined since the last inspection.
Foster carers in {} feel well supported.
Early help in {} is well coordinated.
In {}, supervision is irregular.
In {}, return interviews are timely.
The council in {} must reduce the number of unallocated cases.
Minutes of the {} children's services committee
Partners in {} do not share information quickly enough.
Inspection of {} local authority children's services
""".strip().splitlines()
AUTHORITIES = ("Examplemoor", "Samplebridge", "Little Fabling", "Imagineshire", "Port Notional", "Upper Madeup")

WITH_PERSON = """
{} praised the staff for their hard work.
{} asked when the report would be published.
{} said that caseloads were far too high.
{} recommended that the budget be increased.
{} was concerned about the number of agency social workers.
Apologies were received from {}.
{} welcomed the progress that had been made.
{} joined the council as director in 2021.
The committee thanked {} for the presentation.
{} told members that visits were now on time.
{} said the findings were deeply disappointing.
"Children deserve better than this," said {}.
{} proposed that the report be noted.
In reply, {} explained how the team was organised.
{} urged the cabinet to act on the shortage of foster homes.
{} pointed out that too many children were waiting.
{} is the lead member for children.
The lead inspector was {}.
{} admitted that families had been let down.
{} reported that all vacancies had been filled.
""".strip().splitlines()
PERSONS = (
    "Councillor Invented",
    "Mrs Fable",
    "Dr Olu Sample",
    "Ms Priya Notional",
    "Cllr J. Madeup",
    "Tomasz Fikcyjny",
)

WITH_NUMBER = """
Caseloads average {} children, which is manageable.
Some {} children were waiting for an assessment, and some had waited for months.
Inspectors read {} case files.
The council employs {} social workers.
All {} children in residential homes were visited by their social worker.
Staff turnover has fallen to {}%.
Agency staff fill {}% of posts, and children have too many changes of worker.
The meeting began at {} pm.
There were {} care leavers in touch with their advisers.
{} young people were living in unsuitable accommodation.
Page {}
Only {}% of health assessments were on time.
The service must visit each child at least every {} days.
Ensure that supervision takes place every {} weeks.
The committee met {} times.
The council has opened {} new children's homes, and children benefit from living locally.
The virtual school supports {} pupils very effectively.
{} referrals had not been looked at for weeks.
Decisions are made within {} hours and are sound.
Paragraph {} refers.
""".strip().splitlines()
NUMBERS = ("3", "17", "28", "46", "104", "1,250")

WITH_QUOTES = """
Children's plans don't say what must change.
"We feel listened to," one young person told inspectors.
The council's 'front door' is well staffed.
Managers' oversight isn't strong enough.
The 'local offer' is not known to all care leavers.
One carer said, "The support has been wonderful."
The director's report wasn't available.
Leaders haven't tackled the 'culture of delay'.
Social workers' caseloads are manageable.
"It was not good enough," the leader said.
Young people's views shape the service's priorities.
It's a concern that plans aren't reviewed.
The council's website has the full report.
"Nobody told me what would happen," said one child.
The 'Signs of Hope' model is used well.
Children don't have to repeat their story.
The inspectors' letter was sent on Monday.
Staff feel 'safe and valued'.
The report's main recommendation is to improve 'step-down' arrangements.
Parents said that they "couldn't get through" to the team.
""".strip().splitlines()


def test_quotes_may_be_straight_or_curly(baseline):
    def curly(text):
        outer = text.replace(' "', " “").replace('"', "”") if not text.startswith('"') else text.replace('"', "“", 1)
        return outer.replace('"', "”").replace(" '", " ‘").replace("'", "’")

    pairs = zip(findings(baseline, WITH_QUOTES), findings(baseline, map(curly, WITH_QUOTES)), strict=True)
    passes("straight and curly quotes", [a == b for a, b in pairs], WITH_QUOTES, 0.85)


@pytest.mark.parametrize(
    ("capability", "patterns", "fillers", "at_least"),
    [
        ("authority swapped", WITH_AUTHORITY, AUTHORITIES, 0.55),
        ("person swapped", WITH_PERSON, PERSONS, 0.75),
        ("number changed", WITH_NUMBER, NUMBERS, 1.0),
    ],
)
def test_names_and_numbers_make_no_difference(baseline, capability, patterns, fillers, at_least):
    answers = [set(findings(baseline, [pattern.format(f) for f in fillers])) for pattern in patterns]
    passes(capability, [len(answer) == 1 for answer in answers], patterns, at_least)


MIXED = [*PLAIN_STRENGTHS, *PLAIN_CONCERNS, *DIRECTIVES, *FURNITURE, *BACKGROUND]


def test_upper_case_makes_no_difference(baseline):
    pairs = zip(findings(baseline, MIXED), findings(baseline, [s.upper() for s in MIXED]), strict=True)
    passes("upper case", [a == b for a, b in pairs], MIXED, 1.0)


@pytest.mark.parametrize(
    ("heading", "sentences", "at_least"),
    [
        (LEADERS, PLAIN_STRENGTHS + PLAIN_CONCERNS, 0.75),
        (HELP, PLAIN_STRENGTHS + PLAIN_CONCERNS, 0.75),
        (IMPROVE, DIRECTIVES, 0.65),
    ],
)
def test_heading_removed_makes_little_difference(baseline, heading, sentences, at_least):
    pairs = zip(findings(baseline, sentences, [heading] * len(sentences)), findings(baseline, sentences), strict=True)
    passes(f"heading '{heading}' removed", [a == b for a, b in pairs], sentences, at_least)


def test_grade_in_the_heading_makes_no_difference(baseline):
    good = baseline.predict(MIXED, [f"{LEADERS}: good"] * len(MIXED))
    poor = baseline.predict(MIXED, [f"{LEADERS} is inadequate"] * len(MIXED))
    passes("grade in the heading", (good.finding_probabilities == poor.finding_probabilities).all(axis=1), MIXED, 1.0)
