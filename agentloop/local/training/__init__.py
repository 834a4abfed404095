"""What happens inside a worker process: rows become tensors, TRL trains, the server is told.

task            the job, its model and its data, ready to train
settings        the job's hyperparameters over the recipe's defaults
supervised      SFT with TRL's SFTTrainer on tokens and labels of our own
preference      DPO with TRL's DPOTrainer on tokens of our own
reinforcement   GRPO with TRL's GRPOTrainer; `rollouts` answers, a grader rewards
progress        steps become events, checkpoints and a result file
saving          a trained model becomes a folder that can be served
report          what a worker tells its server
"""
