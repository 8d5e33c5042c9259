// Publisher, store and model folder together: what `build_release` makes is what `place` lays out.
#include "store/models/release.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "codec/archive.h"
#include "store/models/blob_store.h"
#include "store/models/layout.h"
#include "store/models/test_folder.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;

const SigningKey& key() {
  static const SigningKey made = *make_signing_key();
  return made;
}
void write(const std::string& path, const Bytes& bytes) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}
void write_release(const std::string& folder, const Bytes& model = "model bytes") {
  write(folder + "/model.onnx", model);
  write(folder + "/labels.txt", "cat\ndog\n");
  write(folder + "/thresholds.toml", "cat = 0.5\n");
  write(folder + "/golden/first/input.images.1x2.f32", Bytes(8, '\0'));
  write(folder + "/golden/first/output.signature.3.f32", Bytes(12, '\0'));
  write(folder + "/.git/config", "not part of it");
}
Bytes put_all(BlobStore& blobs, const std::string& folder, const Release& release) {
  for (const ManifestFile& file : release.manifest.files)
    EXPECT_EQ(*blobs.put_file(folder + "/" + file.path), file.sha256);
  return encode(release.signed_manifest);
}

TEST(Release, DescribesAFolderTheSameWayEachTime) {
  const TestFolder folder;
  write_release(folder.path());
  const auto release = build_release(folder.path(), "detector", "1.0.0", key().private_pem, "by a test");
  ASSERT_TRUE(release) << release.error().message;
  const Manifest& m = release->manifest;
  ASSERT_EQ(m.files.size(), 5u);
  EXPECT_EQ(find_role(m, FileRole::kModel)->sha256, sha256("model bytes"));
  EXPECT_EQ(find_role(m, FileRole::kThresholds)->path, "thresholds.toml");
  ASSERT_EQ(m.golden.size(), 1u);
  EXPECT_EQ(m.golden[0].inputs[0].tensor, (TensorSpec{"images", TensorType::kF32, {1, 2}}));
  EXPECT_EQ(m.golden[0].outputs[0].file, "golden/first/output.signature.3.f32");
  EXPECT_EQ(m.inputs[0].name, "images");
  EXPECT_EQ(m.outputs, std::vector<std::string>{"signature"});
  const auto opened = open_manifest(encode(release->signed_manifest), key().public_pem);
  ASSERT_TRUE(opened);
  EXPECT_EQ(*opened, m);
  EXPECT_EQ(build_release(folder.path(), "detector", "1.0.0", key().private_pem, "by a test")->signed_manifest,
            release->signed_manifest);
}

TEST(Release, TakesGoldenFilesOfEachTypeByTheirEnding) {  // M4
  const TestFolder folder;
  write_release(folder.path());
  write(folder.path() + "/golden/b/input.images.1x2.u8", "ab");
  write(folder.path() + "/golden/b/output.signature.3.f16", Bytes(6, '\0'));
  write(folder.path() + "/golden/b/output.class.1.i64", Bytes(8, '\0'));
  const auto release = build_release(folder.path(), "detector", "1.0.0", key().private_pem);
  ASSERT_TRUE(release) << release.error().message;
  const GoldenCase& one = release->manifest.golden.at(0);
  EXPECT_EQ(one.inputs.at(0).tensor, (TensorSpec{"images", TensorType::kU8, {1, 2}}));
  EXPECT_EQ(one.outputs.at(0).tensor, (TensorSpec{"class", TensorType::kI64, {1}}));
  EXPECT_EQ(one.outputs.at(1).tensor, (TensorSpec{"signature", TensorType::kF16, {3}}));
  EXPECT_EQ(open_manifest(encode(release->signed_manifest), key().public_pem)->golden, release->manifest.golden);
}

TEST(Release, CarriesTheToleranceThatIsDeclared) {  // M4
  const TestFolder folder;
  write_release(folder.path());
  const auto build = [&](std::optional<std::uint32_t> tolerance) {
    return build_release(folder.path(), "detector", "1.0.0", key().private_pem, {}, tolerance);
  };
  EXPECT_EQ(build({})->manifest.golden[0].tolerance_millionths, kToleranceMillionths);
  const auto wide = build(20'000);
  ASSERT_TRUE(wide) << wide.error().message;
  EXPECT_EQ(wide->manifest.golden[0].tolerance_millionths, 20'000u);
  EXPECT_EQ(open_manifest(encode(wide->signed_manifest), key().public_pem)->golden[0].tolerance_millionths, 20'000u);
  EXPECT_NE(wide->signed_manifest, build({})->signed_manifest) << "other content (M1)";
  const auto none = build(0);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().message, "manifest: golden[0].tolerance_millionths is 0; give 1 to 1000000");
  fs::remove_all(folder.path() + "/golden");
  const auto nothing = build(20'000);
  ASSERT_FALSE(nothing) << "a tolerance of nothing";
  EXPECT_EQ(nothing.error().code, Code::kInvalid);
  EXPECT_NE(nothing.error().message.find("no golden case"), std::string::npos) << nothing.error().message;
}

TEST(Release, RefusesFoldersThatAreNoRelease) {
  struct Case {
    const char* why;
    std::function<void(const std::string&)> spoil;
    Code code;
    const char* message;
  };
  const Case cases[] = {
      {"no model", [](const auto& f) { fs::remove(f + "/model.onnx"); }, Code::kNotFound, "no model.onnx"},
      {"an empty model", [](const auto& f) { write(f + "/model.onnx", ""); }, Code::kInvalid, "at least one byte"},
      {"a link out of the folder", [](const auto& f) { fs::create_symlink("/etc/passwd", f + "/x"); }, Code::kInvalid,
       "not a plain file"},
      {"a linked folder", [](const auto& f) { fs::create_directory_symlink("/etc", f + "/x"); }, Code::kInvalid,
       "not a plain file"},
      {"a pipe", [](const auto& f) { ::mkfifo((f + "/x").c_str(), 0600); }, Code::kInvalid, "not a plain file"},
      {"a blank in a name", [](const auto& f) { write(f + "/a b", "x"); }, Code::kInvalid, "between the slashes"},
      {"a golden file of another size", [](const auto& f) { write(f + "/golden/first/input.images.1x2.f32", "x"); },
       Code::kInvalid, "needs 8"},
      {"a golden file without a shape", [](const auto& f) { write(f + "/golden/first/input.images.f32", "x"); },
       Code::kInvalid, "AxBxC"},
      {"a golden file with a broken shape", [](const auto& f) { write(f + "/golden/first/input.i.1xx2.f32", "x"); },
       Code::kInvalid, "AxBxC"},
      {"a golden file of a type that engines do not have",
       [](const auto& f) { write(f + "/golden/first/input.i.1.f64", "12345678"); }, Code::kInvalid,
       "u8, i64 and f16 in place of f32"},
      {"a golden file of another size for its type",
       [](const auto& f) { write(f + "/golden/first/input.i.3.i64", "1234567812345678"); }, Code::kInvalid, "needs 24"},
      {"golden outputs without inputs", [](const auto& f) { write(f + "/golden/b/output.y.1.f32", "1234"); },
       Code::kInvalid, "0 tensors"},
      {"too many files",
       [](const auto& f) {
         for (int i = 0; i < 64; ++i) write(f + "/f" + std::to_string(i), "x");
       },
       Code::kInvalid, "at most 64"},
      {"a file too large for a release",
       [](const auto& f) {
         write(f + "/weights.bin", "");
         fs::resize_file(f + "/weights.bin", kModelFileBytesMax + 1);  // no byte of it is on the disk
       },
       Code::kInvalid, "weights.bin: 4294967297 bytes; a file of a release has at most 4294967296"},
      {"a whole tree of folders",
       [](const auto& f) {
         for (int i = 0; i < 4096; ++i) fs::create_directory(f + "/d" + std::to_string(i));
       },
       Code::kInvalid, "more than 4096 entries"},
      {"no folder", [](const auto& f) { fs::remove_all(f); }, Code::kNotFound, "not a folder"},
      {"a link to itself in place of the folder",
       [](const auto& f) {
         fs::remove_all(f);
         fs::create_symlink(f, f);
       },
       Code::kUnavailable, "read folder "},
  };
  for (const Case& c : cases) {
    const TestFolder folder;
    write_release(folder.path());
    c.spoil(folder.path());
    const auto refused = build_release(folder.path(), "detector", "1.0.0", key().private_pem);
    ASSERT_FALSE(refused) << c.why;
    EXPECT_EQ(refused.error().code, c.code) << c.why;
    EXPECT_NE(refused.error().message.find(c.message), std::string::npos) << c.why << ": " << refused.error().message;
  }
  const TestFolder folder;
  write_release(folder.path());
  EXPECT_FALSE(build_release(folder.path(), "Detector", "1.0.0", key().private_pem));
  EXPECT_FALSE(build_release(folder.path(), "detector", "one", key().private_pem));
  EXPECT_FALSE(build_release(folder.path(), "detector", "1.0.0", key().public_pem));
}

TEST(ModelLayout, LaysOutAVersionWithoutACopy) {  // M11
  const TestFolder source, store;
  write_release(source.path());
  const auto release = build_release(source.path(), "detector", "1.0.0", key().private_pem);
  const auto blobs = *BlobStore::open(store.path() + "/store");
  const auto layout = *ModelLayout::open(store.path() + "/models");
  EXPECT_EQ(layout->place(encode(release->signed_manifest), release->manifest, *blobs).error().code, Code::kNotFound)
      << "before its blobs are here";
  EXPECT_TRUE(layout->list().empty());
  const Bytes encoded = put_all(*blobs, source.path(), *release);

  const auto folder = layout->place(encoded, release->manifest, *blobs);
  ASSERT_TRUE(folder) << folder.error().message;
  EXPECT_EQ(*folder, store.path() + "/models/detector/1.0.0");
  EXPECT_EQ(*layout->place(encoded, release->manifest, *blobs), *folder) << "twice is once";
  EXPECT_EQ(fs::hard_link_count(*folder + "/model.onnx"), 2u);
  EXPECT_EQ(*layout->signed_manifest("detector", "1.0.0"), encoded);
  EXPECT_EQ(layout->list(), (std::vector<PlacedVersion>{{"detector", "1.0.0"}}));
  for (const ManifestFile& file : release->manifest.files) {
    const auto bytes = read_release_file(*folder, file);
    ASSERT_TRUE(bytes) << bytes.error().message;
    EXPECT_EQ(sha256(*bytes), file.sha256);
  }
  // A release folder that was placed can be published again, to the same bytes.
  EXPECT_EQ(build_release(*folder, "detector", "1.0.0", key().private_pem)->signed_manifest, release->signed_manifest);

  ASSERT_TRUE(blobs->remove(find_role(release->manifest, FileRole::kLabels)->sha256));
  EXPECT_TRUE(fs::exists(*folder + "/labels.txt")) << "a link of its own";
  ASSERT_TRUE(layout->remove("detector", "1.0.0"));
  ASSERT_TRUE(layout->remove("detector", "1.0.0")) << "twice is once";
  EXPECT_TRUE(layout->list().empty());
}

TEST(ModelLayout, RefusesTheSameVersionWithOtherContent) {  // M1
  const TestFolder source, store;
  write_release(source.path());
  const auto first = build_release(source.path(), "detector", "1.0.0", key().private_pem);
  const auto blobs = *BlobStore::open(store.path() + "/store");
  const auto layout = *ModelLayout::open(store.path() + "/models");
  ASSERT_TRUE(layout->place(put_all(*blobs, source.path(), *first), first->manifest, *blobs));
  write_release(source.path(), "other model bytes");
  const auto second = build_release(source.path(), "detector", "1.0.0", key().private_pem);
  const auto refused = layout->place(put_all(*blobs, source.path(), *second), second->manifest, *blobs);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kConflict);
  EXPECT_EQ(*read_release_file(layout->folder("detector", "1.0.0"), first->manifest.files[3]), "model bytes");
}

TEST(ModelLayout, HealsADamagedFolderAndSweepsHalfOnes) {
  const TestFolder source, store;
  write_release(source.path());
  const auto release = build_release(source.path(), "detector", "1.0.0", key().private_pem);
  const auto blobs = *BlobStore::open(store.path() + "/store");
  const std::string root = store.path() + "/models";
  const Bytes encoded = put_all(*blobs, source.path(), *release);
  const std::string folder = *(*ModelLayout::open(root))->place(encoded, release->manifest, *blobs);

  fs::remove(folder + "/model.onnx");
  write(root + "/.new-detector-2.0.0/model.onnx", "half");  // a kill in the middle of place
  const auto layout = *ModelLayout::open(root);
  EXPECT_FALSE(fs::exists(root + "/.new-detector-2.0.0"));
  EXPECT_EQ(*layout->place(encoded, release->manifest, *blobs), folder);
  EXPECT_EQ(fs::file_size(folder + "/model.onnx"), 11u);

  fs::remove_all(folder);
  write(folder + "/model.onnx", "someone else's");  // a folder without our manifest gives way
  EXPECT_EQ(*layout->place(encoded, release->manifest, *blobs), folder);
  EXPECT_EQ(*read_release_file(folder, *find_role(release->manifest, FileRole::kModel)), "model bytes");
  fs::remove(folder + "/labels.txt");
  write(folder + "/labels.txt", "x");
  EXPECT_EQ(read_release_file(folder, *find_role(release->manifest, FileRole::kLabels)).error().code, Code::kCorrupt);
}

// What the disk does not let us look at is there: a version is not forgotten for it, and the others go on (M8).
TEST(ModelLayout, WhatCannotBeLookedAtCountsAsThere) {  // M8
  const TestFolder source, store;
  write_release(source.path());
  const auto release = build_release(source.path(), "detector", "1.0.0", key().private_pem);
  const auto blobs = *BlobStore::open(store.path() + "/store");
  const std::string root = store.path() + "/models";
  const auto layout = *ModelLayout::open(root);
  const Bytes encoded = put_all(*blobs, source.path(), *release);
  ASSERT_TRUE(layout->place(encoded, release->manifest, *blobs));
  // A link to itself: whoever runs this, no look gets through it.
  fs::create_symlink(root + "/detector/2.0.0", root + "/detector/2.0.0");
  fs::create_directories(root + "/detector/3.0.0");
  EXPECT_EQ(layout->list(), (std::vector<PlacedVersion>{{"detector", "1.0.0"}, {"detector", "2.0.0"}}))
      << "3.0.0 has no manifest: that is certain";
  EXPECT_EQ(layout->signed_manifest("detector", "2.0.0").error().code, Code::kUnavailable);

  fs::rename(root + "/detector/1.0.0", store.path() + "/away");
  fs::create_symlink(root + "/detector/1.0.0", root + "/detector/1.0.0");
  const auto placed = layout->place(encoded, release->manifest, *blobs);
  ASSERT_TRUE(placed) << "it gives way: " << placed.error().message;
  EXPECT_EQ(*layout->signed_manifest("detector", "1.0.0"), encoded);
}

TEST(ModelLayout, TakesTheStoresFileInPlaceOfADamagedOneOfTheSameSize) {  // X3
  const TestFolder source, store;
  write_release(source.path());
  const auto release = build_release(source.path(), "detector", "1.0.0", key().private_pem);
  const auto blobs = *BlobStore::open(store.path() + "/store");
  const auto layout = *ModelLayout::open(store.path() + "/models");
  const Bytes encoded = put_all(*blobs, source.path(), *release);
  const std::string folder = *layout->place(encoded, release->manifest, *blobs);
  const ManifestFile& model = *find_role(release->manifest, FileRole::kModel);
  fs::permissions(folder + "/model.onnx", fs::perms::owner_write, fs::perm_options::add);
  write(folder + "/model.onnx", "model byteS");  // one file with the store's: both are damaged
  ASSERT_EQ(blobs->verify(model.sha256).error().code, Code::kCorrupt);
  put_all(*blobs, source.path(), *release);
  ASSERT_EQ(*layout->place(encoded, release->manifest, *blobs), folder);
  EXPECT_EQ(*read_release_file(folder, model), "model bytes");
}

TEST(ModelLayout, NamesWhatStandsInItsWay) {
  const TestFolder source;
  write_release(source.path());
  const auto release = build_release(source.path(), "detector", "1.0.0", key().private_pem);
  struct Case {
    const char* why;
    std::function<void(const std::string& root, const std::string& model_blob)> spoil;
    Code code;
    const char* says;
  };
  const Case cases[] = {
      {"a link that leads nowhere in the version's place",
       [](const auto& root, const auto&) {
         fs::create_directories(root + "/detector");
         fs::create_symlink("nowhere", root + "/detector/1.0.0");
       },
       Code::kUnavailable, "/models/detector/1.0.0: File exists"},
      {"a blob taken away behind the store's back", [](const auto&, const auto& blob) { fs::remove(blob); },
       Code::kNotFound, "/model.onnx: No such file"},
  };
  for (const Case& c : cases) {
    const TestFolder store;
    const auto blobs = *BlobStore::open(store.path() + "/store");
    const std::string root = store.path() + "/models";
    const auto layout = *ModelLayout::open(root);
    const Bytes encoded = put_all(*blobs, source.path(), *release);
    c.spoil(root, *blobs->path(find_role(release->manifest, FileRole::kModel)->sha256));
    const auto refused = layout->place(encoded, release->manifest, *blobs);
    ASSERT_FALSE(refused) << c.why;
    EXPECT_EQ(refused.error().code, c.code) << c.why << ": " << refused.error().message;
    EXPECT_NE(refused.error().message.find(c.says), std::string::npos) << c.why << ": " << refused.error().message;
    EXPECT_FALSE(fs::exists(root + "/.new-detector-1.0.0")) << c.why << ": nothing half stays";
    EXPECT_TRUE(layout->list().empty()) << c.why;
  }
  const TestFolder store;
  const auto layout = *ModelLayout::open(store.path());
  write(store.path() + "/detector", "a file in place of the model's folder");
  const auto kept = layout->remove("detector", "1.0.0");
  ASSERT_FALSE(kept);
  EXPECT_EQ(kept.error().code, Code::kUnavailable);
  EXPECT_EQ(kept.error().message, "rename " + store.path() + "/detector/1.0.0: Not a directory");
}

TEST(ModelLayout, CannotLinkIntoAnotherFileSystem) {  // M11
  const TestFolder source, store;
  const fs::path memory = "/dev/shm";
  struct stat here{}, there{};
  if (::stat(store.path().c_str(), &here) != 0 || ::stat(memory.c_str(), &there) != 0 || here.st_dev == there.st_dev)
    GTEST_SKIP() << "needs " << memory << " beside the temporary folder";
  const TestFolder elsewhere(memory);
  write_release(source.path());
  const auto release = build_release(source.path(), "detector", "1.0.0", key().private_pem);
  const auto blobs = *BlobStore::open(store.path());
  const auto layout = *ModelLayout::open(elsewhere.path());
  const auto refused = layout->place(put_all(*blobs, source.path(), *release), release->manifest, *blobs);
  ASSERT_FALSE(refused) << "a copy would cost the disk twice";
  EXPECT_EQ(refused.error().code, Code::kInvalid);
  EXPECT_EQ(refused.error().message, "model folder " + elsewhere.path() +
                                         "/.new-detector-1.0.0: on another file system than the store " + store.path());
  EXPECT_TRUE(layout->list().empty());
}

TEST(ModelLayout, NeverLeavesItsRoot) {
  const TestFolder store;
  const auto blobs = *BlobStore::open(store.path() + "/store");
  const auto layout = *ModelLayout::open(store.path() + "/models");
  Manifest manifest;
  manifest.name = "detector";
  manifest.version = "1.0.0";
  manifest.files = {{"model.onnx", FileRole::kModel, 1, *blobs->put("m")},
                    {"../../x", FileRole::kOther, 1, *blobs->put("x")}};
  EXPECT_EQ(layout->place("manifest", manifest, *blobs).error().code, Code::kInvalid);
  manifest.files.pop_back();
  manifest.name = "..";
  EXPECT_EQ(layout->place("manifest", manifest, *blobs).error().code, Code::kInvalid);
  EXPECT_EQ(layout->remove("..", "1.0.0").error().code, Code::kInvalid);
  EXPECT_EQ(layout->remove("detector", "..").error().code, Code::kInvalid);
  EXPECT_FALSE(fs::exists(store.path() + "/x"));
}

}  // namespace
}  // namespace tidelock
