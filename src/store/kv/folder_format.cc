#include "store/kv/folder_format.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

namespace tidelock {

// "tidelock 1\nhub hub-1\n"
static constexpr char kFirstWord[] = "tidelock";

static Result<void> write_mark(const std::string& path, const std::string& text) {
  const std::string fresh = path + ".new";
  const int fd = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  const bool written = fd >= 0 && ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                       ::fsync(fd) == 0 && ::rename(fresh.c_str(), path.c_str()) == 0;
  const int cause = errno;
  if (fd >= 0) ::close(fd);
  if (!written) return fail(Code::kBusy, path + ": " + std::strerror(cause));
  return {};
}

Result<void> claim_folder(const std::string& folder, const std::string& node, std::uint32_t format) {
  const std::string path = folder + "/format";
  std::ifstream in(path);
  if (!in) return write_mark(path, std::string(kFirstWord) + " " + std::to_string(format) + "\n" + node + "\n");
  std::string word;
  std::uint32_t found = 0;
  std::string owner;
  if (!(in >> word >> found) || word != kFirstWord || !std::getline(in >> std::ws, owner)) {
    return fail(Code::kInvalid, path + ": it does not say what this folder is; it must be a data_dir of " + node);
  }
  if (found > format || found + 1 < format) {
    return fail(Code::kInvalid,
                path + ": the folder has format " + std::to_string(found) + ", this build reads " +
                    std::to_string(format > 1 ? format - 1 : 1) + " to " + std::to_string(format) +
                    (found > format ? "; install the newer build again" : "; go through the build between them"));
  }
  if (owner != node) {
    return fail(Code::kConflict, path + ": the folder belongs to " + owner + ", this is " + node +
                                     "; one id has one disk, give each node a data_dir of its own");
  }
  if (found < format)
    return write_mark(path, std::string(kFirstWord) + " " + std::to_string(format) + "\n" + node + "\n");
  return {};
}

}  // namespace tidelock
