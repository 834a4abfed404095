"""The demo: a shop, its support agent, its customers, and the loop that makes the agent better.

Nothing in it is simulated but the people who type the requests and press the thumbs.
"""
