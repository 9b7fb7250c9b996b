"""The web page: a shell of HTML, style sheets and ES modules of our own, served beside the API."""
