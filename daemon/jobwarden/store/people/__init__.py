"""What people and applications read and change: filters, pages, verbs for one job or many, controls, explanations.

Nothing here is on the path of a job.
"""
