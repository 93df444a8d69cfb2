#!/bin/bash
# Runs the language model for /scratch/my runs/a/rounds/003/request.json; written by evohpc.
#SBATCH --job-name=a-3f2a-003-lm.0
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output='/scratch/my runs/a/rounds/003/logs/lm.log'
#SBATCH --time=240
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=16
#SBATCH --mem=16384M
#SBATCH --partition=gpu
#SBATCH --account=proj1
#SBATCH --gres=gpu:a100:2
#SBATCH --mail-type=FAIL
#SBATCH --exclusive

refused=$(ln -sT "$SLURM_JOB_ID" '/scratch/my runs/a/rounds/003/slurm/a-3f2a-003-lm/0'/claim 2>&1)
owner=$(readlink '/scratch/my runs/a/rounds/003/slurm/a-3f2a-003-lm/0'/claim)
if [ -z "$owner" ]; then
  echo "error: $(hostname) cannot write to the run folder: $refused"; exit 1
elif [ "$owner" != "$SLURM_JOB_ID" ]; then
  echo "job $owner does this work; nothing to do for $SLURM_JOB_ID"; exit 0
fi
echo "job $SLURM_JOB_ID starts on $(hostname)"
module load apptainer
# Apptainer honours these even where all else of the environment is kept out.
unset "${!APPTAINER@}" "${!SINGULARITY@}"
for name in CUDA_VISIBLE_DEVICES ROCR_VISIBLE_DEVICES HIP_VISIBLE_DEVICES; do
  [ -z "${!name+set}" ] || export "APPTAINERENV_$name=${!name}"
done
exec srun --export=ALL --nodes=1 --ntasks=1 --cpus-per-task=16 --kill-on-bad-exit=1 apptainer --quiet exec --containall --no-home --no-privs --no-mount hostfs,bind-paths,home,cwd --nv --bind /opt/drivers:/opt/drivers:ro --bind /sw/evohpc:/opt/evohpc/evohpc:ro --bind /scratch/models/qwen:/model:ro --bind '/scratch/my runs/a:/in:ro' --bind '/scratch/my runs/a/rounds/003:/in/rounds/003:rw' --env GLOO_SOCKET_IFNAME=lo --env HF_HUB_OFFLINE=1 --env NCCL_SOCKET_IFNAME=lo --env OMP_NUM_THREADS=8 --env PYTHONDONTWRITEBYTECODE=1 --env PYTHONPATH=/opt/evohpc --env PYTHONSAFEPATH=1 --env TOKENIZERS_PARALLELISM=false --pwd /in/rounds/003 /images/lm.sif env HOME=/tmp python3 -P -m torch.distributed.run --nnodes=1 --rdzv-backend=c10d --rdzv-endpoint=127.0.0.1:0 --local-addr=127.0.0.1 --nproc-per-node=2 -m evohpc.lm.generate --model /model /in/rounds/003/request.json
