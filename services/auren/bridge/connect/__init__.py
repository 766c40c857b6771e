"""People connect their accounts at the vendors, see which are connected, and disconnect them.

`routes` speak HTTP, `pages` show a browser how it ended, `accounts` leads through the steps, `logins` and `widget` ask
the vendors, `books` keeps it all in the database.
"""
