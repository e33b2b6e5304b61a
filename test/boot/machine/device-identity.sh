#!/bin/sh
echo "mac=$(cat /sys/class/net/eth0/address)"
