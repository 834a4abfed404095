"""HTTP: OpenAI's paths, bodies, objects and errors. One file for each resource.

    files  jobs  models  graders  chat     the resources
    bodies  chat_body                      what may be asked, and what is refused
    refusals  pages  keys                  what all of them share

They parse, call what lies behind them, and answer; they decide nothing.
"""
