// A folder of a test, in memory where the machine has such a file system: the tests make their own syncs and power
// cuts.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>

namespace tidelock::stores {

// A store that was left behind, as a dead process leaves it, may still be removing files of its own.
inline void remove_tree(const std::filesystem::path& path) {
  std::error_code error;
  for (int tries = 0; tries < 1'000 && std::filesystem::exists(path, error); ++tries) {
    std::filesystem::remove_all(path, error);
  }
}

class Folder {
 public:
  Folder() {
    const std::filesystem::path in_memory("/dev/shm");
    std::error_code error;
    std::string pattern =
        ((std::filesystem::is_directory(in_memory, error) ? in_memory : std::filesystem::temp_directory_path()) /
         "tidelock-stores-XXXXXX")
            .string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~Folder() { remove_tree(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string path(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace tidelock::stores
