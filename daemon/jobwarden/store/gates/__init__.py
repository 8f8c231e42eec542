"""What holds a job back and lets it go: prerequisites, tags, limits, and what follows from ends.

Works in transactions that others began; never decides how an attempt ended.
"""
