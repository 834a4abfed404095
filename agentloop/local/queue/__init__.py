"""Jobs from submission to their end: files are checked, then each job has a process of its own.

checking   what is wrong with a training file, in OpenAI's codes and words
foreman    the queue: one job at a time, reports from the worker become events and states
courier    webhooks: somebody is told that a job has ended
process    a worker process seen from here: started early, given a job, listened to, ended
"""
