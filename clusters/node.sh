#!/usr/bin/env bash
# What a node of `ray up` needs: a fast disk, the Python environment, weights. The launch files send it to
# ~/.samsweep and call it; calling it again changes nothing. `node.sh stop` ends the Ray that was started from here,
# and no other of the machine.
#
#   SAMSWEEP_CLUSTER   the cluster's name: its processes carry it in their environment
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
    "SAMSWEEP_CLUSTER=$SAMSWEEP_CLUSTER" \
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
  local disks device link
  disks=$(for link in /dev/disk/by-id/nvme-Amazon_EC2_NVMe_Instance_Storage_* /dev/disk/by-id/google-local-nvme-ssd-*; do
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
  local name signal
  name=$(sed -n 's/^export SAMSWEEP_CLUSTER=//p' "$home/env" 2>/dev/null) || return 0
  for signal in TERM KILL; do
    # shellcheck disable=SC2046
    kill -$signal $(processes "$name") 2>/dev/null || return 0
    for _ in $(seq 50); do
      [ -n "$(processes "$name")" ] || return 0
      sleep 0.2
    done
  done
}

processes() {
  local file pid
  for file in /proc/[0-9]*/environ; do
    pid=${file//[^0-9]/}
    if [ "$pid" != $$ ] && [ -O "$file" ] && grep -qzxF "SAMSWEEP_CLUSTER=$1" "$file" 2>/dev/null; then echo "$pid"; fi
  done
}

if [ "${1:-}" = stop ]; then stop; else main; fi
