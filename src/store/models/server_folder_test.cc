#include "store/models/server_folder.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "codec/signature.h"
#include "store/models/files.h"
#include "store/models/release.h"
#include "store/models/test_folder.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;

void write(const std::string& path, const Bytes& bytes) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}
Bytes read(const std::string& path) { return files::read_all(path, 1 << 20).value_or("-"); }

// A release as the edge has it: a folder, and the manifest that says what of it counts.
struct Release {
  explicit Release(const Bytes& model, const Bytes& config = {}) {
    write(folder.path() + "/model.onnx", model);
    write(folder.path() + "/labels/en.txt", "cat\n");
    write(folder.path() + "/tidelock.manifest", "ours");
    if (!config.empty()) write(folder.path() + "/config.pbtxt", config);
    manifest.name = "detector";
    manifest.version = "1.0.0";
    const auto file = [&](const char* path, FileRole role) {
      const Bytes bytes = read(folder.path() + "/" + path);
      manifest.files.push_back({path, role, bytes.size(), sha256(bytes)});
    };
    file("model.onnx", FileRole::kModel);
    file("labels/en.txt", FileRole::kOther);
    if (!config.empty()) file("config.pbtxt", FileRole::kOther);
  }
  TestFolder folder;
  Manifest manifest;
};

TEST(ServerFolder, LaysAReleaseOutUnderTheIndexOfItsActivation) {  // M11
  const TestFolder root;
  auto server = *ServerFolder::open(root.path() + "/models");
  const Release first("one");
  ASSERT_TRUE(server->place(Index{7}, first.folder.path(), first.manifest));
  const std::string at = root.path() + "/models/detector/";
  EXPECT_EQ(read(at + "7/model.onnx"), "one");
  EXPECT_EQ(read(at + "7/labels/en.txt"), "cat\n");
  EXPECT_FALSE(fs::exists(at + "7/tidelock.manifest")) << "only what the manifest names";
  EXPECT_FALSE(fs::exists(at + "config.pbtxt"));
  struct stat ours{}, theirs{};
  ASSERT_EQ(::stat((at + "7/model.onnx").c_str(), &ours), 0);
  ASSERT_EQ(::stat((first.folder.path() + "/model.onnx").c_str(), &theirs), 0);
  EXPECT_EQ(ours.st_ino, theirs.st_ino) << "no second copy on the same file system";
  ASSERT_TRUE(server->place(Index{7}, "/nowhere", first.manifest)) << "it is there already";

  const Release second("two", "max_batch_size: 8");
  ASSERT_TRUE(server->place(Index{31}, second.folder.path(), second.manifest));
  EXPECT_EQ(read(at + "config.pbtxt"), "max_batch_size: 8");
  EXPECT_FALSE(fs::exists(at + "31/config.pbtxt"));
  ASSERT_TRUE(server->place(Index{40}, first.folder.path(), first.manifest));  // S5: a rollback
  EXPECT_EQ(server->versions("detector"), (std::vector<Index>{{7}, {31}, {40}}));

  write(at + "notes/readme", "an operator's");
  write(at + "007/x", "not a number of ours");
  ASSERT_TRUE(server->prune("detector", {Index{40}, Index{31}}));
  EXPECT_EQ(server->versions("detector"), (std::vector<Index>{{31}, {40}}));
  EXPECT_TRUE(fs::exists(at + "notes/readme"));
  EXPECT_TRUE(fs::exists(at + "007/x"));
  EXPECT_TRUE(fs::exists(first.folder.path() + "/model.onnx"));
}

TEST(ServerFolder, ShowsAVersionWholeOrNotAtAll) {
  const TestFolder root;
  const Release release("one");
  fs::remove(release.folder.path() + "/labels/en.txt");
  auto server = *ServerFolder::open(root.path());
  const auto missing = server->place(Index{3}, release.folder.path(), release.manifest);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::kNotFound);
  EXPECT_NE(missing.error().message.find("labels/en.txt"), std::string::npos) << missing.error().message;
  EXPECT_TRUE(server->versions("detector").empty());
  EXPECT_TRUE(fs::is_empty(root.path())) << "nothing is left lying about";

  write(root.path() + "/.new-detector-3/model.onnx", "of a process that was killed");
  server = *ServerFolder::open(root.path());
  EXPECT_TRUE(fs::is_empty(root.path()));

  Manifest hostile = release.manifest;
  hostile.name = "../elsewhere";
  EXPECT_EQ(server->place(Index{3}, release.folder.path(), hostile).error().code, Code::kInvalid);
  EXPECT_EQ(server->prune("../elsewhere", {}).error().code, Code::kInvalid);
}

TEST(ServerFolder, CopiesWhereItCannotLink) {
  const fs::path shared = "/dev/shm";
  if (!fs::exists(shared)) GTEST_SKIP() << "no second file system here";
  const TestFolder root(shared);
  const Release release("one");
  auto server = *ServerFolder::open(root.path());
  ASSERT_TRUE(server->place(Index{3}, release.folder.path(), release.manifest));
  EXPECT_EQ(read(root.path() + "/detector/3/model.onnx"), "one");
}

}  // namespace
}  // namespace tidelock
