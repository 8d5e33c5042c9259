// Bundles there and back, and what a stranger may put on a stick.
#include "store/bundle/bundle.h"

#include <archive.h>
#include <archive_entry.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "base/rng.h"
#include "codec/archive.h"
#include "codec/signature.h"
#include "store/models/files.h"
#include "store/models/test_folder.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;

struct Member {
  std::string name;
  Bytes bytes;
  unsigned type = AE_IFREG;
  std::string link = {};  // of a symbolic or hard link
  bool hard = false;
};

// A zip or tar of anything, compressed as far as the format can.
void write_archive(const std::string& path, const std::vector<Member>& members) {
  archive* out = archive_write_new();
  if (path.ends_with(".zip")) {
    archive_write_set_format_zip(out);
  } else {
    archive_write_set_format_pax_restricted(out);
  }
  ASSERT_EQ(archive_write_open_filename(out, path.c_str()), ARCHIVE_OK);
  for (const Member& member : members) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, member.name.c_str());
    archive_entry_set_filetype(entry, member.type);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, static_cast<la_int64_t>(member.bytes.size()));
    if (!member.link.empty() && member.hard) archive_entry_set_hardlink(entry, member.link.c_str());
    if (!member.link.empty() && !member.hard) archive_entry_set_symlink(entry, member.link.c_str());
    ASSERT_EQ(archive_write_header(out, entry), ARCHIVE_OK) << member.name;
    archive_write_data(out, member.bytes.data(), member.bytes.size());
    archive_entry_free(entry);
  }
  ASSERT_EQ(archive_write_close(out), ARCHIVE_OK);
  archive_write_free(out);
}

class BundleTest : public testing::TestWithParam<const char*> {
 protected:
  BundleTest() {
    Rng rng(5);
    for (int i = 0; i < 300'000; ++i) model_ += static_cast<char>(rng.next());
    manifest_.name = "detector";
    manifest_.version = "1.0.0";
    manifest_.files = {{std::string(kModelFileName), FileRole::kModel, model_.size(), sha256(model_)},
                       {"labels.txt", FileRole::kLabels, 8, sha256("cat\ndog\n")},
                       {"golden/a/input.x.1.f32", FileRole::kGolden, 4, sha256("abcd")}};
    manifest_.golden = {{{{{"x", TensorType::kF32, {1}}, "golden/a/input.x.1.f32", {}}},
                         {{{"y", TensorType::kF32, {1}}, "", Bytes(4, '\0')}},
                         20'000}};  // not the default
    const auto made = sign_manifest(manifest_, key_.private_pem);
    EXPECT_TRUE(made) << made.error().message;
    signed_ = encode(*made);
  }
  std::string path(const std::string& name = "bundle") const { return folder_.path() + "/" + name + GetParam(); }
  std::vector<Member> good() const {
    return {{std::string(kBundleManifest), signed_},
            {"model.onnx", model_},
            {"labels.txt", "cat\ndog\n"},
            {"golden/a/input.x.1.f32", "abcd"}};
  }
  Result<void> write(const std::string& where) {
    auto writer = BundleWriter::create(where, signed_, manifest_);
    if (!writer) return fail(writer.error());
    for (const ManifestFile& file : manifest_.files) {
      if (auto ok = (*writer)->begin(file); !ok) return ok;
      const Bytes bytes = file.role == FileRole::kModel    ? model_
                          : file.role == FileRole::kLabels ? "cat\ndog\n"
                                                           : "abcd";
      for (std::size_t at = 0; at < bytes.size(); at += 70'000)
        if (auto ok = (*writer)->write(BytesView(bytes).substr(at, 70'000)); !ok) return ok;
    }
    return (*writer)->finish();
  }
  Result<void> import(const std::string& where, const std::string& into) {
    auto reader = BundleReader::open(where, key_.public_pem);
    if (!reader) return fail(reader.error());
    return extract_bundle(**reader, folder_.path() + "/" + into);
  }

  TestFolder folder_;
  SigningKey key_ = *make_signing_key();
  Manifest manifest_;
  Bytes model_, signed_;
};

TEST_P(BundleTest, GoesThereAndBack) {
  const auto written = write(path());
  ASSERT_TRUE(written) << written.error().message;
  auto reader = BundleReader::open(path(), key_.public_pem);
  ASSERT_TRUE(reader) << reader.error().message;
  EXPECT_EQ((*reader)->manifest(), manifest_);
  EXPECT_EQ((*reader)->signed_manifest(), signed_) << "the same proof";
  const auto out = extract_bundle(**reader, folder_.path() + "/out");
  ASSERT_TRUE(out) << out.error().message;
  EXPECT_TRUE(files::read_all(folder_.path() + "/out/model.onnx", 1u << 20).value_or("") == model_);
  EXPECT_EQ(files::read_all(folder_.path() + "/out/golden/a/input.x.1.f32", 100).value_or(""), "abcd");
  EXPECT_EQ(extract_bundle(**reader, folder_.path() + "/again").error().code, Code::kInvalid) << "a reader reads once";
  EXPECT_EQ(write(path()).error().code, Code::kConflict) << "what is there stays";
  ASSERT_TRUE(write(path("second")));
  EXPECT_TRUE(files::read_all(path(), 4u << 20).value_or("") == files::read_all(path("second"), 4u << 20).value_or("?"))
      << "the same version gives the same bytes";
  write_archive(path("foreign"), good());
  EXPECT_TRUE(import(path("foreign"), "out-foreign")) << "another tool may have packed it, and compressed it";
}

TEST_P(BundleTest, AnUnfinishedOneLeavesNothing) {
  {
    auto writer = BundleWriter::create(path(), signed_, manifest_);
    ASSERT_TRUE(writer) << writer.error().message;
    EXPECT_EQ((*writer)->begin(manifest_.files[1]).error().code, Code::kInvalid) << "not in the manifest's order";
    ASSERT_TRUE((*writer)->begin(manifest_.files[0]));
    EXPECT_EQ((*writer)->write(model_ + "x").error().code, Code::kInvalid) << "longer than declared";
    EXPECT_EQ((*writer)->finish().error().code, Code::kInvalid) << "not all of it";
  }
  EXPECT_TRUE(fs::is_empty(folder_.path()));
}

TEST_P(BundleTest, StrangersAreRefused) {
  struct Case {
    const char* why;
    std::function<void(std::vector<Member>&)> change;
    Code code;
    std::string says;
  };
  const SigningKey other = *make_signing_key();
  const Bytes foreign = encode(*sign_manifest(manifest_, other.private_pem));
  Bytes tampered = signed_;
  tampered[tampered.size() / 2] ^= 1;
  const std::vector<Case> cases = {
      {"a missing member", [](auto& m) { m.pop_back(); }, Code::kCorrupt, "'golden/a/input.x.1.f32' is missing"},
      {"an extra member", [](auto& m) { m.push_back({"extra.txt", "x"}); }, Code::kCorrupt,
       "'extra.txt' is not in the manifest"},
      {"a way out", [](auto& m) { m[2].name = "../labels.txt"; }, Code::kCorrupt,
       "'../labels.txt' is not in the manifest"},
      {"a way out by the root", [](auto& m) { m[2].name = "/etc/labels.txt"; }, Code::kCorrupt,
       "labels.txt' is not in the manifest"},
      {"the same place by another name", [](auto& m) { m[2].name = "./labels.txt"; }, Code::kCorrupt,
       "is not in the manifest"},
      {"twice", [](auto& m) { m.push_back(m[2]); }, Code::kCorrupt, "'labels.txt' comes twice"},
      {"a symbolic link", [](auto& m) { m[2] = {"labels.txt", "", AE_IFLNK, "/etc/passwd"}; }, Code::kCorrupt,
       "is no plain file"},
      {"a folder", [](auto& m) { m[2] = {"labels.txt/", "", AE_IFDIR}; }, Code::kCorrupt, "is no plain file"},
      {"a byte too many", [](auto& m) { m[2].bytes += "x"; }, Code::kCorrupt, "'labels.txt' is longer than 8 bytes"},
      {"a byte too few", [](auto& m) { m[2].bytes.pop_back(); }, Code::kCorrupt, "has 7 bytes, the manifest says 8"},
      {"another byte", [](auto& m) { m[2].bytes[0] = 'b'; }, Code::kCorrupt, "'labels.txt' has other content"},
      {"a bomb", [](auto& m) { m[2].bytes = Bytes(64u << 20, 'x'); }, Code::kCorrupt,
       "'labels.txt' is longer than 8 bytes"},
      {"a bomb for a manifest", [](auto& m) { m[0].bytes = Bytes(64u << 20, 'x'); }, Code::kCorrupt,
       "is longer than 524288 bytes"},
      {"no manifest", [](auto& m) { m.erase(m.begin()); }, Code::kCorrupt,
       "its first member must be tidelock.manifest"},
      {"the manifest is not first", [](auto& m) { std::swap(m[0], m[1]); }, Code::kCorrupt, "its first member must be"},
      {"nothing in it", [](auto& m) { m.clear(); }, Code::kCorrupt, ""},
      {"another's signature", [&](auto& m) { m[0].bytes = foreign; }, Code::kDenied, "key"},
      {"a changed manifest", [&](auto& m) { m[0].bytes = tampered; }, Code::kDenied, "signature"},
  };
  for (const Case& c : cases) {
    std::vector<Member> members = good();
    c.change(members);
    const std::string where = path();
    write_archive(where, members);
    const auto end = import(where, "out");
    ASSERT_FALSE(end) << c.why;
    EXPECT_TRUE(end.error().code == c.code || (members.empty() && end.error().code == Code::kInvalid))
        << c.why << ": " << end.error().message;
    EXPECT_NE(end.error().message.find(c.says), std::string::npos) << c.why << ": " << end.error().message;
    EXPECT_FALSE(fs::exists(folder_.path() + "/labels.txt")) << c.why;
    if (fs::exists(folder_.path() + "/out/labels.txt")) {
      EXPECT_LE(fs::file_size(folder_.path() + "/out/labels.txt"), 8u) << c.why;
      EXPECT_FALSE(fs::is_symlink(folder_.path() + "/out/labels.txt")) << c.why;
    }
    fs::remove_all(folder_.path() + "/out");
    fs::remove(where);
  }
}

TEST_P(BundleTest, ATruncatedOneIsRefusedWhereverItIsCut) {
  ASSERT_TRUE(write(path()));
  const Bytes whole = *files::read_all(path(), 4u << 20);
  Rng rng(11);
  for (int i = 0; i < 60; ++i) {
    const std::size_t length = static_cast<std::size_t>(rng.below(whole.size() - 2'000));
    std::ofstream(path("cut"), std::ios::binary) << whole.substr(0, length);
    EXPECT_FALSE(import(path("cut"), "out")) << "cut to " << length << " bytes";
    fs::remove_all(folder_.path() + "/out");
    fs::remove(path("cut"));
  }
  std::ofstream(path("noise"), std::ios::binary) << model_;
  EXPECT_FALSE(import(path("noise"), "out")) << "no archive at all";
  EXPECT_EQ(BundleReader::open(folder_.path() + "/none.zip", key_.public_pem).error().code, Code::kNotFound);
}

INSTANTIATE_TEST_SUITE_P(Bundle, BundleTest, testing::Values(".zip", ".tar"),
                         [](const auto& tested) { return std::string(tested.param + 1); });

TEST(Bundle, AHardLinkIsNoFile) {
  const TestFolder folder;
  const SigningKey key = *make_signing_key();
  Manifest manifest;
  manifest.name = "m";
  manifest.version = "1.0.0";
  manifest.files = {{std::string(kModelFileName), FileRole::kModel, 1, sha256("x")},
                    {"b", FileRole::kOther, 1, sha256("x")}};
  const Bytes made = encode(*sign_manifest(manifest, key.private_pem));
  const std::string path = folder.path() + "/b.tar";
  write_archive(path,
                {{std::string(kBundleManifest), made}, {"model.onnx", "x"}, {"b", "", AE_IFREG, "model.onnx", true}});
  auto reader = BundleReader::open(path, key.public_pem);
  ASSERT_TRUE(reader) << reader.error().message;
  const auto end = extract_bundle(**reader, folder.path() + "/out");
  ASSERT_FALSE(end);
  EXPECT_NE(end.error().message.find("'b' is no plain file"), std::string::npos) << end.error().message;
  EXPECT_FALSE(BundleWriter::create(folder.path() + "/b.rar", made, manifest)) << "no other formats";
}

}  // namespace
}  // namespace tidelock
