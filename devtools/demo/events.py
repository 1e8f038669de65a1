"""The events that the demo sends: what a small, made-up university does on its Open edX site."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from opaque_keys.edx.keys import CourseKey, UsageKey
from opaque_keys.edx.locator import LibraryLocatorV2, LibraryUsageLocatorV2
from openedx_events.analytics.data import TrackingLogData
from openedx_events.analytics.signals import TRACKING_EVENT_EMITTED
from openedx_events.content_authoring.data import CourseCatalogData, CourseScheduleData, LibraryBlockData, XBlockData
from openedx_events.content_authoring.signals import (
    COURSE_CATALOG_INFO_CHANGED,
    LIBRARY_BLOCK_CREATED,
    XBLOCK_PUBLISHED,
)
from openedx_events.learning.data import (
    CertificateData,
    CourseData,
    CourseEnrollmentData,
    ExamAttemptData,
    PersistentCourseGradeData,
    UserData,
    UserPersonalData,
    XBlockSkillVerificationData,
)
from openedx_events.learning.signals import (
    CERTIFICATE_CREATED,
    COURSE_ENROLLMENT_CREATED,
    EXAM_ATTEMPT_SUBMITTED,
    PERSISTENT_GRADE_SUMMARY_CHANGED,
    SESSION_LOGIN_COMPLETED,
    STUDENT_REGISTRATION_COMPLETED,
    XBLOCK_SKILL_VERIFIED,
)
from openedx_events.tooling import OpenEdxPublicSignal

EventData = dict[str, Any]

_TERM_BEGINS = datetime(2026, 9, 7, 8, tzinfo=UTC)
_TERM_ENDS = datetime(2027, 1, 29, 18, tzinfo=UTC)

_FIRST_NAMES = (
    "Ada",
    "Béla",
    "Chandra",
    "Dorothea",
    "Emre",
    "Fatou",
    "Grace",
    "Håkon",
    "Inés",
    "Jun",
    "Kwame",
    "Lotte",
)
_LAST_NAMES = ("Abara", "Bianchi", "Castillo", "Dvořák", "Eriksen", "Fontaine", "Gupta", "Haddad", "Ivanova", "Jansen")

_COURSES = {
    "BIO101": "Life of the Cell",
    "CS50": "Programming for Everyone",
    "HIST12": "Harbours of the Ancient World",
    "MATH7": "Numbers and Proof",
    "MUS3": "Listening to Bach",
}


class Campus:
    """
    Makes events up.

    Arguments:
        seed: the same seed makes the same events.
    """

    def __init__(self, seed: int = 2026) -> None:
        self._random = random.Random(seed)

    def event(self, number: int) -> tuple[OpenEdxPublicSignal, EventData]:
        """Return the signal of the event of that number, and what it is sent with. All signals take turns."""
        signal, make = KINDS[number % len(KINDS)]
        return signal, make(self)

    # What happens.

    def registration(self) -> EventData:
        """A student has registered."""
        return {"user": self._student()}

    def login(self) -> EventData:
        """A student has logged in."""
        return {"user": self._student()}

    def enrollment(self) -> EventData:
        """A student has enrolled in a course, on their own or by a member of the staff."""
        return {
            "enrollment": CourseEnrollmentData(
                user=self._student(),
                course=self._course(),
                mode=self._random.choice(("audit", "verified")),
                is_active=True,
                creation_date=self._moment(),
                created_by=self._student() if self._random.random() < 0.2 else None,
            )
        }

    def certificate(self) -> EventData:
        """A student has got a certificate."""
        student = self._student()
        return {
            "certificate": CertificateData(
                user=student,
                course=self._course(),
                mode="verified",
                grade=f"{self._random.uniform(0.6, 1.0):.2f}",
                download_url=f"https://campus.example.org/certificates/{self._random.getrandbits(64):016x}",
                name=student.pii.name,
                current_status="downloadable",
                previous_status="generating",
            )
        }

    def grade(self) -> EventData:
        """A student's grade has changed."""
        percent = self._random.uniform(0.3, 1.0)
        return {
            "grade": PersistentCourseGradeData(
                user_id=self._random.randint(1, 50_000),
                course=self._course(),
                course_edited_timestamp=self._moment(),
                course_version=f"{self._random.getrandbits(96):024x}",
                grading_policy_hash=f"{self._random.getrandbits(80):020x}=",
                percent_grade=percent,
                letter_grade="Pass" if percent > 0.5 else "",
                passed_timestamp=self._moment(),
            )
        }

    def exam(self) -> EventData:
        """A student has submitted an exam."""
        course_key = self._course_key()
        return {
            "exam_attempt": ExamAttemptData(
                student_user=self._student(),
                course_key=course_key,
                usage_key=self._usage_key(course_key, "sequential"),
                exam_type=self._random.choice(("timed", "proctored")),
            )
        }

    def skills(self) -> EventData:
        """A student has said which skills a video teaches."""
        skills = self._random.sample(range(1, 400), 5)
        usage_key = self._usage_key(self._course_key(), "video")
        return {
            "xblock_info": XBlockSkillVerificationData(
                usage_key=usage_key, verified_skills=skills[:3], ignored_skills=skills[3:]
            )
        }

    def published(self) -> EventData:
        """An author has published a unit."""
        usage_key = self._usage_key(self._course_key(), "vertical")
        return {"xblock_info": XBlockData(usage_key=usage_key, block_type="vertical")}

    def catalog(self) -> EventData:
        """An author has changed a course's entry in the catalog."""
        schedule = CourseScheduleData(start=_TERM_BEGINS, pacing="instructor", end=_TERM_ENDS)
        course_key = self._course_key()
        return {
            "catalog_info": CourseCatalogData(
                course_key=course_key, name=_COURSES[str(course_key.course)], schedule_data=schedule, hidden=True
            )
        }

    def library_block(self) -> EventData:
        """An author has written a problem for a library."""
        library_key = LibraryLocatorV2.from_string("lib:Example:mathematics")
        usage_key = LibraryUsageLocatorV2.from_string(
            f"lb:Example:mathematics:problem:{self._random.getrandbits(64):x}"
        )
        return {"library_block": LibraryBlockData(library_key=library_key, usage_key=usage_key)}

    def tracking(self) -> EventData:
        """A student has started a video."""
        return {
            "tracking_log": TrackingLogData(
                name="play_video",
                timestamp=self._moment(),
                data=json.dumps({"currentTime": round(self._random.uniform(0, 600), 1), "duration": 600}),
                context=json.dumps({"course_id": str(self._course_key())}),
            )
        }

    # To whom, where and when.

    def _student(self) -> UserData:
        number = self._random.randint(1, 50_000)
        first, last = self._random.choice(_FIRST_NAMES), self._random.choice(_LAST_NAMES)
        pii = UserPersonalData(username=f"student{number}", email=f"{number}@example.org", name=f"{first} {last}")
        return UserData(id=number, is_active=True, pii=pii)

    def _course_key(self) -> CourseKey:
        return CourseKey.from_string(f"course-v1:Example+{self._random.choice(sorted(_COURSES))}+2026_Fall")

    def _course(self) -> CourseData:
        key = self._course_key()
        return CourseData(course_key=key, display_name=_COURSES[str(key.course)], start=_TERM_BEGINS, end=_TERM_ENDS)

    def _usage_key(self, course_key: CourseKey, block_type: str) -> UsageKey:
        return course_key.make_usage_key(block_type, f"{self._random.getrandbits(128):032x}")

    def _moment(self) -> datetime:
        return _TERM_BEGINS + timedelta(
            seconds=self._random.randint(0, 10_000_000), microseconds=self._random.randint(0, 999_999)
        )


KINDS: tuple[tuple[OpenEdxPublicSignal, Callable[[Campus], EventData]], ...] = (
    (STUDENT_REGISTRATION_COMPLETED, Campus.registration),
    (SESSION_LOGIN_COMPLETED, Campus.login),
    (COURSE_ENROLLMENT_CREATED, Campus.enrollment),
    (CERTIFICATE_CREATED, Campus.certificate),
    (PERSISTENT_GRADE_SUMMARY_CHANGED, Campus.grade),
    (EXAM_ATTEMPT_SUBMITTED, Campus.exam),
    (XBLOCK_SKILL_VERIFIED, Campus.skills),
    (XBLOCK_PUBLISHED, Campus.published),
    (COURSE_CATALOG_INFO_CHANGED, Campus.catalog),
    (LIBRARY_BLOCK_CREATED, Campus.library_block),
    (TRACKING_EVENT_EMITTED, Campus.tracking),
)
