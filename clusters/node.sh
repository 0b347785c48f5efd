#!/usr/bin/env bash
# What a node of `ray up` needs: a fast disk, the Python environment, weights. The launch files send it to
# ~/.samsweep and call it; calling it again changes nothing. `node.sh stop` ends the Ray that was started from there
# and no other of the machine; `node.sh free PORT...` fails where one is taken.
#
#   SAMSWEEP_DISK      a folder on the fastest local disk; auto: the machine's unused NVMe disks are formatted (sudo)
#   SAMSWEEP_CACHE_GB  what shards may take of it; empty: nine tenths of what is free
#   SAMSWEEP_WEIGHTS   backbones to fetch: "vit_b vit_h"; empty: none (vit_t ships)
#   SAMSWEEP_PYTHON    the environment; one that is there and was not made here is used as it is
#   SAMSWEEP_RAY       where Ray keeps sockets and logs; a short path
set -euo pipefail

home=~/.samsweep
code=$home/code

main() {
  local disk python=${SAMSWEEP_PYTHON:-$home/venv}
  disk=$(fast_disk "${SAMSWEEP_DISK:-auto}")
  mkdir -p "$disk/cache" "$disk/tmp" "${SAMSWEEP_RAY:=/tmp}"
  install_into "$python"
  environment "$disk" "$python" > "$home/env"
  # shellcheck source=/dev/null
  . "$home/env"
  for name in ${SAMSWEEP_WEIGHTS:-}; do samsweep weights fetch "$name"; done
}

# What Ray's processes start with. TMPDIR: checkpoints on their way to an object store lie there.
environment() {
  printf 'export %s\n' \
    "SAMSWEEP_NODE=$home" \
    "PATH=$2/bin:\$PATH" \
    "SAMSWEEP_CACHE=$1/cache" \
    "SAMSWEEP_CACHE_GB=${SAMSWEEP_CACHE_GB:-}" \
    "TORCH_HOME=$1/cache/torch" \
    "TMPDIR=$1/tmp" \
    "RAY_TMPDIR=$SAMSWEEP_RAY" \
    RAY_AUTH_MODE=token \
    RAY_USAGE_STATS_ENABLED=0 \
    RAY_TRAIN_ENABLE_STATE_TRACKING=1 \
    RAY_TRAIN_HEALTH_CHECK_INTERVAL_S=0.1 \
    RAY_CHDIR_TO_TRIAL_DIR=0 \
    RAY_AIR_NEW_OUTPUT=0 \
    TUNE_DISABLE_AUTO_CALLBACK_LOGGERS=1 \
    TUNE_RESULT_BUFFER_LENGTH=0 \
    TUNE_FUNCTION_THREAD_TIMEOUT_S=60 \
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=0
}

install_into() {
  local made=$1/.samsweep wanted
  if [ -e "$1" ] && [ ! -e "$made" ]; then
    [ -x "$1/bin/ray" ] || { echo "$1: no Ray in it; mend SAMSWEEP_PYTHON" >&2; exit 1; }
    return
  fi
  rm -rf "$code/build" "$code"/*.egg-info # what an installation left: a module that has gone would live on in it
  wanted=$(cd "$code" && find . -type f -not -path '*/__pycache__/*' -print0 | sort -z | xargs -0 sha256sum | sha256sum)
  if [ "$(cat "$made" 2>/dev/null)" = "$wanted" ]; then return; fi
  # Debian's and Ubuntu's python3 come without the module that makes environments
  if ! python3 -c 'import ensurepip' 2>/dev/null; then
    sudo apt-get update -qq
    sudo DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv
  fi
  python3 -m venv "$1"
  : > "$made" # from here on it is ours, though not complete
  "$1/bin/pip" install -q --disable-pip-version-check -c "$code/constraints.txt" "$code"
  "$1/bin/pip" install -q --disable-pip-version-check --no-deps --force-reinstall "$code" # the same version, other code
  echo "$wanted" > "$made"
}

# Prints a folder on the fastest disk there is.
fast_disk() {
  if [ "$1" != auto ]; then mkdir -p "$1" && echo "$1" && return; fi
  local mounted=/mnt/samsweep
  if mountpoint -q /opt/dlami/nvme; then
    mounted=/opt/dlami/nvme/samsweep # AWS's deep learning images have put the instance store there
    sudo mkdir -p $mounted
  elif ! mountpoint -q $mounted && ! mount_local_nvme $mounted; then
    mounted=$home/disk # there is none: the root disk
    mkdir -p $mounted
  fi
  [ -O $mounted ] || sudo chown "$(id -u):$(id -g)" $mounted
  echo $mounted
}

# Formats and mounts what the cloud calls local, if it is empty; false where there is nothing to use.
mount_local_nvme() {
  local disks device link ids=/dev/disk/by-id
  disks=$(for link in $ids/nvme-Amazon_EC2_NVMe_Instance_Storage_* $ids/google-local-nvme-ssd-*; do
    case $link in *'*' | *-part*) ;; *) readlink -f "$link" ;; esac
  done | sort -u)
  [ -n "$disks" ] || return 1
  for device in $disks; do
    [ -z "$(lsblk -nro FSTYPE,PARTTYPE,MOUNTPOINT "$device" | tr -d ' \n')" ] || return 1
  done
  device=$disks
  if [ "$(wc -w <<< "$disks")" -gt 1 ]; then
    device=/dev/md/samsweep
    # shellcheck disable=SC2086
    sudo mdadm --create $device --level=0 --raid-devices="$(wc -w <<< "$disks")" --run $disks >&2
  fi
  sudo mkfs.ext4 -q -m 0 -E nodiscard "$device" >&2
  sudo mkdir -p "$1"
  sudo mount -o noatime,discard "$device" "$1"
}

# `ray stop` would end every Ray of the machine, whoever's it is.
stop() {
  local signal until all
  all=$(processes)
  for signal in TERM KILL; do
    [ -n "$all" ] || return 0
    # shellcheck disable=SC2086
    kill -$signal $all 2>/dev/null || true
    until=$((SECONDS + 10))
    while all=$(alive "$all") && [ -n "$all" ] && [ $SECONDS -lt $until ]; do sleep 0.2; done
  done
}

# Those that were started with the environment below, and their descendants: Ray's workers write their title over it.
processes() {
  local marked
  marked=$(grep -lszxF "SAMSWEEP_NODE=$home" /proc/[0-9]*/environ | cut -d/ -f3 || true)
  ps -eo pid=,ppid= | awk -v marked="$marked" -v self=$$ '
    BEGIN { n = split(marked, pids); for (i = 1; i <= n; i++) ours[pids[i]] }
    { parent[$1] = $2 }
    END {
      do { grown = 0; for (p in parent) if (!(p in ours) && (parent[p] in ours)) { ours[p]; grown = 1 } } while (grown)
      for (p in ours) if (p != self && p in parent) print p
    }'
}

alive() {
  # shellcheck disable=SC2086
  ps -o pid=,stat= -p "$(echo $1 | tr ' ' ',')" | awk '$2 !~ /^Z/ { print $1 }'
}

# Where a port is taken, Ray would start without what should listen there, or meet a stranger's.
free() {
  local port
  for port in "$@"; do
    if (exec 3<> "/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      echo "port $port of $(hostname) is taken; choose another one in the launch file" >&2
      exit 1
    fi
  done
}

case ${1:-} in
  stop) stop ;;
  free) free "${@:2}" ;;
  *) main ;;
esac
