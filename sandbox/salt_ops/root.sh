#!/bin/sh
# root.sh FOLDER SALT EDX COMMAND...: run COMMAND where /etc/salt is SALT and /edx is EDX, and all else is this machine's.
# FOLDER is an empty one, to put the new root on. Everything is exec: the process id stays that of the caller's child.
if [ -z "$SANDBOX_ROOT" ]; then
  SANDBOX_ROOT=$1
  export SANDBOX_ROOT
  exec unshare --mount --propagation private /bin/sh "$0" "$@"
fi
unset SANDBOX_ROOT
root=$1 salt=$2 edx=$3 here=$PWD
shift 3
set -e
mount -t tmpfs -o mode=755 sandbox "$root"
for one in /*; do
  if [ "$one" = /edx ] || [ "$one" = /etc ]; then
    continue
  elif [ -L "$one" ] || [ ! -d "$one" ]; then
    cp -P "$one" "$root$one"
  else
    mkdir "$root$one"
    mount --rbind "$one" "$root$one"
  fi
done
# /etc as links to the machine's own, so that nothing has to be copied; only /etc/salt is another.
mkdir "$root/.etc" "$root/etc" "$root/edx"
mount --rbind /etc "$root/.etc"
cd "$root/etc"
ln -s ../.etc/* .
rm -rf salt
mkdir salt
mount --bind "$salt" salt
mount --bind "$edx" "$root/edx"
cd /
exec chroot "$root" /bin/sh -c 'cd "$0" && exec "$@"' "$here" "$@"
