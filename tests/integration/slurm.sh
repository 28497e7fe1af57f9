#!/usr/bin/env bash
# Starts a SLURM cluster of one node and runs a small search and a small study through it.
#
# Needs root, Debian's packages slurm-wlm and munge, and the environment in .venv. Takes minutes; .ci/run leaves it out.
# Works in a temporary folder, removes it, and stops the daemons.
set -euo pipefail
cd "$(dirname "$0")/../.."

for program in munged slurmctld slurmd sbatch; do
	PATH=$PATH:/usr/sbin command -v "$program" >/dev/null || { echo "no $program: apt-get install slurm-wlm munge" >&2; exit 1; }
done
export PATH=$PATH:/usr/sbin PYTHONPATH=$PWD
python=$PWD/.venv/bin/python
work=$(mktemp -d)
log=$work/log
mkdir -p "$log" "$work/state" "$work/spool"

stop() {
	if [ "$1" -ne 0 ]; then tail -n 20 "$log"/*; fi
	for daemon in slurmd slurmctld munged; do
		[ -s "$work/$daemon.pid" ] || continue
		pid=$(cat "$work/$daemon.pid")
		while kill "$pid" 2>/dev/null; do sleep 0.2; done
	done
	rm -rf "$work"
}
trap 'stop $?' EXIT

# The cluster

head -c 1024 /dev/urandom >"$work/munge.key"
chmod 0400 "$work/munge.key"
munged --force --key-file="$work/munge.key" --socket="$work/munge.socket" --pid-file="$work/munged.pid" \
	--log-file="$log/munged" --seed-file="$work/munge.seed"

node=$(hostname -s)
export SLURM_CONF=$work/slurm.conf
cat >"$SLURM_CONF" <<-CONF
	ClusterName=one
	SlurmctldHost=$node(127.0.0.1)
	SlurmUser=root
	SlurmdUser=root
	SlurmctldPort=27817
	SlurmdPort=27818
	AuthType=auth/munge
	AuthInfo=socket=$work/munge.socket
	StateSaveLocation=$work/state
	SlurmdSpoolDir=$work/spool
	SlurmctldPidFile=$work/slurmctld.pid
	SlurmdPidFile=$work/slurmd.pid
	SlurmctldLogFile=$log/slurmctld
	SlurmdLogFile=$log/slurmd
	ProctrackType=proctrack/linuxproc
	TaskPlugin=task/none
	JobAcctGatherType=jobacct_gather/none
	AccountingStorageType=accounting_storage/none
	MpiDefault=none
	ReturnToService=2
	SelectType=select/cons_tres
	SelectTypeParameters=CR_CPU
	NodeName=$node NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
	PartitionName=main Nodes=$node Default=YES MaxTime=INFINITE State=UP
CONF
slurmctld
slurmd
for _ in $(seq 30); do
	if sinfo --noheader --format=%t 2>/dev/null | grep -q '^idle'; then break; fi
	sleep 1
done
sinfo
sinfo | grep -q idle

# A search of three populations: the same list by SLURM's array and by local processes.

small=(--task access --populations 3 --budget 10 --quiet --set population=4 --set train_difficulty=4 --set verify_cases=40)
search() { "$python" -m nram search "${small[@]}" "$@"; }

search --out "$work/search" --launcher slurm --slurm partition=main 2>>"$log/search"
"$python" - "$work/search" <<-'PYTHON'
	import sys
	from pathlib import Path
	import nram
	from nram.experiments.parallel_search import merge_trials
	folder = Path(sys.argv[1])
	trials = merge_trials(folder)
	assert sorted(trials["seed"].unique()) == [0, 1, 2], trials["seed"].unique()
	assert not trials.duplicated(["seed", "trial"]).any() and not trials["learning_rate"].duplicated().any()
	for row in trials[trials["solved"]].itertuples():
	    assert nram.load(folder / row.folder / "machines" / str(row.trial)).task == "access"
	assert len(list((folder / "slurm").glob("*/*_submitted.pkl"))) == 3, "an array of three jobs"
	print(f"the search: {len(trials)} seeds started by 3 jobs, {trials['solved'].sum()} solved")
PYTHON

# Finished populations are not run again.
before=$(stat --format=%n:%Y "$work"/search/population-*/*)
search --out "$work/search" --launcher slurm --resume 2>>"$log/search" >/dev/null
[ "$(stat --format=%n:%Y "$work"/search/population-*/*)" = "$before" ]

# A search that began on this computer and was killed in a population's middle resumes in SLURM's array.
timeout --signal=KILL 25 "$python" -m nram search "${small[@]}" --out "$work/killed" || [ $? -eq 137 ]
ls "$work/killed"
[ ! -e "$work/killed/population-0002/finished.json" ]
search --out "$work/killed" --launcher slurm --resume 2>>"$log/search"
[ "$(ls "$work"/killed/population-*/finished.json | wc -l)" -eq 3 ]

# A study: its trials do not depend on the time they get. Both launchers give the same rows.
for launcher in slurm local; do
	"$python" -m nram study rates --seeds 3 --batches 30 --quiet --out "$work/$launcher" --launcher $launcher --jobs 2 2>>"$log/search"
done
"$python" - "$work" <<-'PYTHON'
	import sys
	from pathlib import Path
	import pandas as pd
	from nram.experiments.studies import load_study
	by_slurm, local = (load_study(Path(sys.argv[1]) / name / "rates").drop(columns="cpu_seconds") for name in ("slurm", "local"))
	pd.testing.assert_frame_equal(by_slurm, local)
	print(f"the study: the same {len(local)} rows by SLURM and by local processes")
PYTHON
echo "SLURM: all passed"
