"""Who may do what: users and their permissions, a service that is asked, penalties."""
