"""Requests of data subjects: what is asked, and until when (`rules`), and where it is kept (`registry`)."""
