#!/bin/bash

# Parameters
#SBATCH --account=proj1
#SBATCH --array=0-499%8
#SBATCH --cpus-per-task=4
#SBATCH --exclusive
#SBATCH --gres=gpu:a100:1
#SBATCH --job-name=3f2a-004-00.1
#SBATCH --mail-type=FAIL
#SBATCH --mem=9216M
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output='/scratch/my runs/a/rounds/004/slurm/3f2a-004-00/1/%A_%a_0_log.out'
#SBATCH --partition=gpu
#SBATCH --qos=normal
#SBATCH --requeue
#SBATCH --signal=USR2@0
#SBATCH --time=35

# setup
refused=$(ln -sT "$SLURM_ARRAY_JOB_ID" '/scratch/my runs/a/rounds/004/slurm/3f2a-004-00/1'/claim 2>&1)
owner=$(readlink '/scratch/my runs/a/rounds/004/slurm/3f2a-004-00/1'/claim)
if [ -z "$owner" ]; then
  echo "error: $(hostname) cannot write to the run folder: $refused"; exit 1
elif [ "$owner" != "$SLURM_ARRAY_JOB_ID" ]; then
  echo "job $owner does this work; nothing to do for $SLURM_ARRAY_JOB_ID"; exit 0
fi

# command
export SUBMITIT_EXECUTOR=slurm
/bin/bash -c 'module load apptainer
exec /sw/venv/bin/python -P -u -m evohpc.jobs.array_task evohpc.evaluation.worker:run_array_task '"'"'/scratch/my runs/a'"'"' 4 3f2a-004-00 1000'
