/** The guest's end of the network between it and its host. */
export const tortureNetwork = {
  tap: 'tap0',
  mac: '02:00:00:00:91:02',
  host: '192.168.91.1',
  guest: '192.168.91.2',
  bits: 24,
  /** Gives back what it gets. */
  echoPort: 7,
} as const;

/**
 * /init of a guest that is busy with everything that a reload could break, and writes down what goes wrong:
 *
 *     processors   each sums a file up again and again, and compares
 *     clock        a loop of short sleeps looks whether time goes back, and how long it did not run at most
 *     disk         fio writes at random and verifies what it wrote
 *     network      an echo server for a stream of the host's, and pings
 *
 * http://GUEST/cgi-bin/report tells how far each has come, and what is wrong (tools/torture/report.ts);
 * http://GUEST/cgi-bin/clock how many seconds it has been up.
 */
export const tortureInit = `#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /run /tmp /www/cgi-bin
mount -t tmpfs tmpfs /tmp
modprobe -a $(cat /etc/modules)
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
ip link set lo up
ip link set eth0 up
ip address add ${tortureNetwork.guest}/${tortureNetwork.bits} dev eth0
cat > /www/cgi-bin/report <<'END'
#!/bin/sh
echo 'Content-Type: text/plain'
echo
echo "clock $(cat /tmp/clock)"
for file in /tmp/cpu-*; do echo "\${file#/tmp/} $(cat $file)"; done
echo "fio $(pidof fio | wc -w) $(awk '{ print $8 }' /sys/block/vda/stat)"
sed 's/^/wrong /' /tmp/wrong 2>/dev/null
grep -v 'no version information' /tmp/fio 2>/dev/null | sed 's/^/wrong fio: /'
dmesg | grep -E 'soft lockup|stall|unstable|hung task|I/O error|BUG:|Oops|timed out' | sed 's/^/wrong kernel: /'
echo end
END
cat > /www/cgi-bin/clock <<'END'
#!/bin/sh
read now rest < /proc/uptime
echo 'Content-Type: text/plain'
echo
echo "$now"
END
chmod +x /www/cgi-bin/report /www/cgi-bin/clock
httpd -h /www
nc -ll -p ${tortureNetwork.echoPort} -e cat &
cpu() {
  want=$(md5sum < /bin/busybox)
  count=0
  while [ "$(md5sum < /bin/busybox)" = "$want" ]; do
    count=$((count + 1))
    # Renamed, as all that is read by others.
    echo $count > /tmp/new-cpu-$1
    mv /tmp/new-cpu-$1 /tmp/cpu-$1
  done
  echo "processor load $1 has another sum after $count" >> /tmp/wrong
}
index=0
while [ $index -lt $(nproc) ]; do cpu $index & index=$((index + 1)); done
clock() {
  sleep 2
  last=0 longest=0 count=0
  while :; do
    read now rest < /proc/uptime
    now=\${now%.*}\${now#*.}
    gap=$((now - last))
    [ $last -gt 0 ] && [ $gap -lt 0 ] && echo "the clock went from $last to $now" >> /tmp/wrong
    [ $last -gt 0 ] && [ $gap -gt $longest ] && longest=$gap
    last=$now count=$((count + 1))
    echo "$count $longest" > /tmp/clock.new
    mv /tmp/clock.new /tmp/clock
    sleep 0.05
  done
}
clock &
(fio --name=verify --filename=/dev/vda --rw=randrw --bs=4k --size=24m --direct=1 --ioengine=libaio --iodepth=8 \\
  --verify=crc32c --verify_backlog=256 --verify_fatal=1 --loops=1000000 --thread --minimal --output=/tmp/fio.out \\
  > /tmp/fio 2>&1; echo "ended with status $?" >> /tmp/fio) &
echo 'guest: busy'
while :; do sleep 1000; done
`;
