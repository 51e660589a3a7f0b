# What servers start besides themselves: a shell and the tools of every image. $1 is an empty folder.
set -e
cd "$1"
mkdir -p from/deep
printf 'one\ntwo\n' > from/file
cp -a from to
mv to/file to/moved
ln to/moved to/hard
ln -s moved to/soft
readlink to/soft
touch -d 2020-01-01 to/moved
truncate -s 64K to/moved
chmod 640 to/moved
chown "$(id -u)" to/moved
mkfifo to/pipe
ls -laR to
stat to/moved
stat -f .
df .
du -s .
dd if=/dev/zero of=to/zeroes bs=4k count=4 conv=fsync
sync to/zeroes
head -c 100 to/zeroes | tee to/tee | sort | wc -c
find to -name 'z*' -exec grep -c x {} + || true
rm to/pipe
tar -cf to.tar to
mkdir unpacked
tar -xf to.tar -C unpacked
gzip -k to.tar
gunzip -c to.tar.gz | tar -tf -
timeout 5 sleep 0.01
nice -n 5 true
nohup true
setsid true
flock to/tee true
sleep 10 & kill $!
wait $! || true
nproc
uname -a
env
realpath .
mktemp -d -p .
rmdir from/deep
rm -r from to unpacked
