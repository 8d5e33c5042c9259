#include "cli/doctor_pages.h"

#include <sstream>

#include "cli/words.h"

namespace tidelock {

HugePageFacts huge_page_facts(const std::string& mountinfo, const std::string& device, const std::string& shmem_enabled,
                              std::uint64_t arena_bytes) {
  HugePageFacts facts;
  facts.arena_bytes = arena_bytes;
  if (const auto from = shmem_enabled.find('['); from != std::string::npos) {
    const auto to = shmem_enabled.find(']', from);
    if (to != std::string::npos) facts.shmem_enabled = shmem_enabled.substr(from + 1, to - from - 1);
  }
  std::istringstream lines(mountinfo);
  for (std::string line; std::getline(lines, line);) {
    // 36 35 0:31 / /dev/shm rw,nosuid shared:5 - tmpfs tmpfs rw,size=...,huge=advise
    std::istringstream words(line);
    std::string id, parent, number, root, mount, word, type, source, options;
    words >> id >> parent >> number >> root >> mount;
    while (words >> word && word != "-") {
    }
    words >> type >> source >> options;
    if (number != device || type != "tmpfs") continue;
    facts.mount = mount;
    facts.huge = "never";
    std::istringstream each(options);
    for (std::string option; std::getline(each, option, ',');) {
      if (option.starts_with("huge=")) facts.huge = option.substr(5);
    }
  }
  return facts;
}

std::optional<Finding> judge_huge_pages(const HugePageFacts& facts) {
  constexpr std::uint64_t kWorthBytes = 16u << 20;
  if (facts.mount.empty() || facts.arena_bytes < kWorthBytes) return std::nullopt;
  Finding finding{"memory", Health::kGood, {}, {}, {{"huge", facts.huge}, {"shmem_enabled", facts.shmem_enabled}}};
  const std::string arena = "the arena of " + bytes_words(facts.arena_bytes);
  if (facts.shmem_enabled == "deny") {
    finding.health = Health::kNote;
    finding.what = arena + " lies in small pages: /sys/kernel/mm/transparent_hugepage/shmem_enabled says deny";
    finding.todo = "echo never > /sys/kernel/mm/transparent_hugepage/shmem_enabled, and mount " + facts.mount +
                   " with huge=advise; then start the edge again";
  } else if (facts.huge == "never" && facts.shmem_enabled != "force") {
    finding.health = Health::kNote;
    finding.what = arena + " lies in small pages: " + facts.mount + " is mounted without huge=advise";
    finding.todo =
        "mount -o remount,huge=advise " + facts.mount +
        " (and in /etc/fstab), then start the edge again: reads of large sets miss the processor's tables less";
  } else {
    finding.what = arena + " may lie in huge pages: " +
                   (facts.shmem_enabled == "force" ? "shmem_enabled says force"
                                                   : facts.mount + " is mounted with huge=" + facts.huge);
  }
  return finding;
}

}  // namespace tidelock
