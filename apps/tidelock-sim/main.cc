#include "sim/runner.h"

int main(int argc, char** argv) { return tidelock::sim::run_command(argc, argv); }
