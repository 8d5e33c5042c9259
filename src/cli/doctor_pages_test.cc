#include "cli/doctor_pages.h"

#include <gtest/gtest.h>

namespace tidelock {
namespace {

TEST(DoctorPages, SayWhetherTheArenaLiesInHugeOnes) {
  const std::string mounts =
      "21 20 0:20 / /proc rw - proc proc rw\n"
      "22 20 0:31 / /dev/shm rw,nosuid shared:5 - tmpfs tmpfs rw,size=100k\n"
      "23 20 0:32 / /run rw shared:6 master:1 - tmpfs tmpfs rw,huge=advise,mode=755\n"
      "24 20 8:1 / /var rw - ext4 /dev/sda1 rw,huge=always\n"
      "cut off\n";
  struct Case {
    const char* why;
    const char* device;
    const char* shmem_enabled;
    std::uint64_t arena_bytes;
    Health health;     // kSkipped: no finding
    const char* says;  // of what or todo
  };
  constexpr std::uint64_t kLarge = 64u << 20;
  const Case cases[] = {
      {"no option is never", "0:31", "always within_size advise [never] deny force", kLarge, Health::kNote,
       "remount,huge=advise /dev/shm"},
      {"the machine's word is for mappings without a file", "0:31", "[always] never", kLarge, Health::kNote,
       "/dev/shm is mounted without huge=advise"},
      {"force stands above the mount", "0:31", "never deny [force]", kLarge, Health::kGood, "shmem_enabled says force"},
      {"the mount allows it", "0:32", "[never] deny", kLarge, Health::kGood, "/run is mounted with huge=advise"},
      {"deny stands above the mount", "0:32", "never [deny]", kLarge, Health::kNote, "says deny"},
      {"a kernel that says nothing", "0:32", "", kLarge, Health::kGood, "huge=advise"},
      {"a small arena", "0:31", "[never]", 4u << 20, Health::kSkipped, ""},
      {"no tmpfs", "8:1", "[never]", kLarge, Health::kSkipped, ""},
      {"not mounted at all", "9:9", "[never]", kLarge, Health::kSkipped, ""},
  };
  for (const Case& c : cases) {
    const auto finding = judge_huge_pages(huge_page_facts(mounts, c.device, c.shmem_enabled, c.arena_bytes));
    ASSERT_EQ(finding.has_value(), c.health != Health::kSkipped) << c.why;
    if (!finding) continue;
    EXPECT_EQ(finding->health, c.health) << c.why;
    EXPECT_NE((finding->what + "\n" + finding->todo).find(c.says), std::string::npos) << c.why << ": " << finding->what;
    EXPECT_EQ(finding->todo.empty(), c.health == Health::kGood) << c.why;
  }
}

}  // namespace
}  // namespace tidelock
