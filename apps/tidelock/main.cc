#include "cli/cli.h"
#ifdef TIDELOCK_TEST_BUILD
#include "planted_faults.h"
#endif

int main(int argc, char** argv) {
  tidelock::TestHooks hooks;
#ifdef TIDELOCK_TEST_BUILD
  hooks = tidelock::hooks_from_environment();
#endif
  return tidelock::run_cli(argc, argv, hooks);
}
