// Whether page and arena lie in huge pages, and what to do about it.
//
// Threads: any. Both functions are pure: the files of the kernel are read by whoever calls them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cli/doctor_checks.h"

namespace tidelock {

// What decides whether page and arena lie in huge pages.
struct HugePageFacts {
  std::string mount;           // the tmpfs that run_dir lies on; empty: none
  std::string huge = "never";  // its option; tmpfs without one has "never"
  std::string shmem_enabled;   // the word in force of the machine's file; empty: this kernel has none
  std::uint64_t arena_bytes = 0;
};
// `mountinfo`: as /proc/self/mountinfo; `device`: "0:31", of run_dir.
HugePageFacts huge_page_facts(const std::string& mountinfo, const std::string& device, const std::string& shmem_enabled,
                              std::uint64_t arena_bytes);
// Nothing where it does not matter: no tmpfs, or an arena that is too small.
std::optional<Finding> judge_huge_pages(const HugePageFacts& facts);

}  // namespace tidelock
