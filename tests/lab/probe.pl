#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# What bash cannot do for the lab: bind ports and speak ONC RPC. Perl, because perl-base is part of
# every Debian; nothing else here is.
#
#   probe.pl ADDRESS ports N        N TCP ports of that IPv4 address that are free now, one a line
#   probe.pl ADDRESS null PORT V    an NFS version V NULL call; exit 0 when it is answered
#   probe.pl ADDRESS exports PORT   the exports of a mountd (MOUNT v3 EXPORT, RFC 1813), one path a
#                                   line
use strict;
use warnings;
use IO::Socket::INET;
use Socket qw(SOL_SOCKET SO_RCVTIMEO);

use constant {
    ANSWER_S_MAX  => 3,
    REPLY_BYTES_MAX => 1 << 20,
    PORT_MIN      => 10000,
    PORT_TRIES_MAX => 200,
    PROGRAM_NFS   => 100003,
    PROGRAM_MOUNT => 100005,
    MOUNT_EXPORT  => 5,
};

my $address = shift // '';

# Below the ephemeral range: a client that reconnects while its server is down could otherwise be
# given the server's port as its own, and connect to itself.
sub free_ports {
    my ($count) = @_;
    open my $range, '<', '/proc/sys/net/ipv4/ip_local_port_range' or die "ip_local_port_range: $!\n";
    my ($ephemeral) = split ' ', <$range>;
    $ephemeral = 61000 if $ephemeral < PORT_MIN + 1000;
    my @sockets;
    for (1 .. PORT_TRIES_MAX) {
        last if @sockets == $count;
        my $port = PORT_MIN + int rand($ephemeral - PORT_MIN);
        my $socket = IO::Socket::INET->new(
            LocalAddr => $address, LocalPort => $port, Proto => 'tcp', Listen => 1);
        push @sockets, $socket if $socket;
    }
    die "found no $count free ports\n" if @sockets < $count;
    return map { $_->sockport } @sockets;
}

sub read_bytes {
    my ($socket, $length) = @_;
    my $data = '';
    while (length $data < $length) {
        my $got = sysread $socket, $data, $length - length $data, length $data;
        die "no answer: $!\n" unless defined $got;
        die "connection closed\n" if $got == 0;
    }
    return $data;
}

# One call without arguments and with AUTH_NONE over TCP (RFC 5531); the result's bytes.
sub call {
    my ($port, $program, $version, $procedure) = @_;
    my $socket = IO::Socket::INET->new(
        PeerAddr => $address, PeerPort => $port, Proto => 'tcp', Timeout => ANSWER_S_MAX)
        or die "connect to port $port: $@\n";
    setsockopt $socket, SOL_SOCKET, SO_RCVTIMEO, pack 'l!l!', ANSWER_S_MAX, 0;
    my $xid = 1;
    my $message = pack 'N10', $xid, 0, 2, $program, $version, $procedure, 0, 0, 0, 0;
    syswrite $socket, pack('N', 0x80000000 | length $message) . $message;
    my $reply = '';
    for (;;) {
        my $mark = unpack 'N', read_bytes($socket, 4);
        die "the reply is too long\n" if length($reply) + ($mark & 0x7fffffff) > REPLY_BYTES_MAX;
        $reply .= read_bytes($socket, $mark & 0x7fffffff);
        last if $mark & 0x80000000;
    }
    my ($got, $type, $state, undef, $verifier) = unpack 'N5', $reply;
    die "not a reply to this call\n" unless $got == $xid && $type == 1;
    die "the call was denied\n" unless $state == 0;
    my $accept = unpack 'N', substr $reply, 20 + $verifier, 4;
    die "the call was not accepted: $accept\n" unless $accept == 0;
    return substr $reply, 24 + $verifier;
}

# exports: a linked list of (path, groups), groups: a linked list of names; strings are padded.
sub exports {
    my ($data) = @_;
    my ($at, @paths) = (0);
    my $number = sub { my $n = unpack 'N', substr $data, $at, 4; $at += 4; return $n };
    my $string = sub {
        my $length = $number->();
        my $text = substr $data, $at, $length;
        $at += $length + (-$length & 3);
        return $text;
    };
    while ($number->()) {
        push @paths, $string->();
        while ($number->()) { $string->() }
    }
    return @paths;
}

my $verb = shift // '';
if ($verb eq 'ports') {
    print "$_\n" for free_ports(shift // 1);
} elsif ($verb eq 'null') {
    my ($port, $version) = @ARGV;
    call($port, PROGRAM_NFS, $version, 0);
} elsif ($verb eq 'exports') {
    my ($port) = @ARGV;
    print "$_\n" for exports(call($port, PROGRAM_MOUNT, 3, MOUNT_EXPORT));
} else {
    die "usage: probe.pl ADDRESS ports N | null PORT VERSION | exports PORT\n";
}
