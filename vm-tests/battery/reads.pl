# Reads a file in 4,000 random places and compares with the whole, which another way gave. Usage: reads.pl FILE COPY
use strict;
open(my $file, '<:raw', $ARGV[0]) or die "$ARGV[0]: $!";
open(my $copy, '<:raw', $ARGV[1]) or die "$ARGV[1]: $!";
my $whole = do { local $/; <$copy> };
my $size = length $whole;
die "size" unless $size == -s $file;
srand 7;
for (1 .. 4000) {
    my ($at, $want) = (int rand($size + 5000), 1 + int rand 20000);
    sysseek($file, $at, 0) // die "seek $at: $!";
    my $got = sysread($file, my $bytes, $want) // die "read $want at $at: $!";
    my $expected = $at < $size ? substr($whole, $at, $want) : '';
    die "$got bytes at $at, not " . length $expected unless $bytes eq $expected;
}
print "same\n";
