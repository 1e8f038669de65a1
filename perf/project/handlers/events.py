"""
The events that are measured: enrollments, which have what events of Open edX are made of.

That is nested data, personal data, a course key, a time. The numbers of users differ, the courses recur.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from opaque_keys.edx.keys import CourseKey
from openedx_events.learning.data import CourseData, CourseEnrollmentData, UserData, UserPersonalData
from openedx_events.learning.signals import COURSE_ENROLLMENT_CREATED

SIGNAL = COURSE_ENROLLMENT_CREATED
TOPIC = "enrollments"

# A university has some hundred courses in a term.
COURSES = 200


def enrollment(number: int) -> dict[str, Any]:
    """Return the data of an event."""
    course = number % COURSES
    return {
        "enrollment": CourseEnrollmentData(
            user=UserData(
                pii=UserPersonalData(
                    username=f"student{number}", email=f"student{number}@example.org", name=f"Student Number {number}"
                ),
                id=number,
                is_active=True,
            ),
            course=CourseData(
                course_key=CourseKey.from_string(f"course-v1:Example+Course{course}+2026"),
                display_name=f"An Introduction to Subject {course}",
            ),
            mode="honor",
            is_active=True,
            creation_date=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC) + timedelta(seconds=number),
        )
    }
