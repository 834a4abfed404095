"""A provider of our own: OpenAI's files, fine-tuning and chat API over TRL, on this machine.

Talks HTTP only: nothing imports it but its own command, and only what is in here imports torch.

    serve       the server, as a function
    app         the application it serves
    api/        OpenAI's paths, bodies and errors
    disk/       files, jobs and models in one folder
    queue/      jobs wait, their files are checked, each gets a process
    worker      that process
    training/   what happens in it
    recipes     how models are trained unless a job says otherwise
    inference/  text from models, in batches
    tiny/       the base model that ships with the package
"""
