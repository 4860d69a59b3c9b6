"""Encrypted cloud persistence for python-telegram-bot."""
