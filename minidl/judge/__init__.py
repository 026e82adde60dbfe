"""The judge: grades the notebooks of a class, and trusts nothing that is in them.

`minidl.grading` checks an answer in the learner's own process, which helps and proves nothing. Here two processes
share the work: one runs the student's code and only makes answers, the other holds cases, reference and points, never
runs a line of a submission, and compares.
"""
