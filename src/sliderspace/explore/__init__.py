"""The web app: `session` holds state and actions and knows no web, `app` shows them in a browser."""
