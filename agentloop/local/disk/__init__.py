"""What the server keeps: files, jobs and models under one folder, readable with `ls` and `cat`.

    ROOT/
    ├── lock             held by the one server that owns this folder
    ├── server.json      pid, port and url of that server while it listens
    ├── files/ID/        object.json, content
    ├── uploads/ID/      upload.json, and each part under its id
    ├── jobs/ID/         job.json, events.jsonl, checkpoints.json, train.jsonl, valid.jsonl, log
    │   └── resume-STEP/   what training goes on from
    └── models/JOB[-step-N]/   model.json and the weights

A thing is there or it is not: files are written aside and renamed, folders are filled aside and
renamed, lines are appended whole. Names that start with `.agentloop-` are unfinished or on their
way out; the next start sweeps them. One server owns the folder, so it reads it once and remembers.
"""
