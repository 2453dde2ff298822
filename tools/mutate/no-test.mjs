// Stands for the tests of a source file that has none, for Stryker wants at least one.
process.stdout.write('TAP version 14\n1..1\nok 1 - there is no test\n');
