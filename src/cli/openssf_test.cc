// X2: a model that somebody else signed is published as they signed it, or not at all.
#include "cli/openssf.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "cli/run_fixture.h"
#include "codec/model_file_fixture.h"
#include "codec/model_signing_fixture.h"
#include "store/models/test_folder.h"

namespace tidelock {
namespace {

class OpenssfTest : public testing::Test {
 protected:
  OpenssfTest() {
    Rng rng(1);
    const std::vector<model_files::Tensor> tensors = {
        {"stem.weight", ElementType::kF32, model_files::weights(rng, ElementType::kF32, 100)}};
    write("release/model.onnx", model_files::onnx(tensors));
    write("release/labels.txt", "car\nbus\n");
    write("release/.cache/left-out", "x");
    write("release/.git/config", "y");
    const SigningKey curve = make_curve_key("P-384"), own = *make_signing_key();
    write("openssf.pem", curve.private_pem);
    write("openssf.pub.pem", curve.public_pem);
    write("model-key.pem", own.private_pem);
    write("model-key.pub.pem", own.public_pem);
  }
  void write(const std::string& name, const Bytes& bytes) const {
    const std::filesystem::path path = at(name);
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
  }
  std::string at(const std::string& name) const { return folder_.path() + "/" + name; }
  void good(const std::vector<std::string>& words, const std::string& says) const {
    const Ran ran = run(words);
    ASSERT_EQ(ran.code, 0) << ran.err;
    EXPECT_NE(ran.out.find(says), std::string::npos) << ran.out;
  }
  void bad(const std::vector<std::string>& words, const std::string& says) const {
    const Ran ran = run(words);
    EXPECT_NE(ran.code, 0) << ran.out;
    EXPECT_NE(ran.err.find(says), std::string::npos) << ran.err;
  }
  std::vector<std::string> sign() const {
    return {"model", "openssf", "sign", at("release"), "--key", at("openssf.pem")};
  }
  std::vector<std::string> verify() const {
    return {"model", "openssf", "verify", at("release"), "--key", at("openssf.pub.pem")};
  }
  std::vector<std::string> into_bucket() const {
    return {"model",
            "sign",
            at("release"),
            "--name",
            "detector",
            "--version",
            "1.0.0",
            "--key",
            at("model-key.pem"),
            "--out",
            at("upload"),
            "--openssf-key",
            at("openssf.pub.pem")};
  }

  const TestFolder folder_;
};

TEST_F(OpenssfTest, WhatWasSignedIsVerifiedAndPublished) {
  good(sign(), "release: 3 files, ");
  good(verify(), "as it was signed: 3 files");
  good(verify(), "its signer left out model.sig, .git");
  good(into_bucket(), "detector 1.0.0 signed into");
  write("release/.git/config", "changed");
  good(verify(), "as it was signed: 3 files");
}

TEST_F(OpenssfTest, WhatIsNotAsItWasSignedIsNeither) {
  good(sign(), "3 files");
  write("release/labels.txt", "car\ntruck\n");
  write("release/extra.txt", "new");
  std::filesystem::remove(at("release/.cache/left-out"));
  const std::string differs =
      "not the model that was signed: extra.txt was not signed; labels.txt has other bytes than "
      "were signed";
  bad(verify(), differs + "; .cache/left-out was signed and is missing");
  bad(into_bucket(), differs);
  EXPECT_FALSE(std::filesystem::exists(at("upload"))) << "nothing was begun";
  std::filesystem::remove(at("release/extra.txt"));
  std::filesystem::remove(at("release/labels.txt"));
  bad(into_bucket(), "labels.txt was signed and is missing");
}

TEST_F(OpenssfTest, OneFileIsAModelToo) {
  const std::string model = at("release/model.onnx");
  good({"model", "openssf", "sign", model, "--key", at("openssf.pem")}, "model.onnx: 1 file, ");
  good({"model", "openssf", "verify", model, "--key", at("openssf.pub.pem")}, "model.onnx: as it was signed: 1 file");
  write("release/model.onnx", "other");
  bad({"model", "openssf", "verify", model, "--key", at("openssf.pub.pem")}, ". has other bytes");
}

TEST_F(OpenssfTest, SaysWhatIsMissing) {
  bad(verify(), "model.sig");
  bad({"model", "openssf", "sign", at("release"), "--key", at("model-key.pem")}, "P-256, P-384 or P-521");
  bad({"model", "openssf", "sign", at("release"), "--key", at("nowhere.pem")}, "--key ");
  bad({"model", "openssf", "verify", at("nowhere"), "--key", at("openssf.pub.pem")}, "nowhere.sig");
  good(sign(), "3 files");
  bad({"model", "openssf", "verify", at("release"), "--key", at("model-key.pub.pem")}, "of another kind");
  std::filesystem::create_symlink("model.onnx", at("release/link"));
  bad(verify(), "link: neither a plain file nor a folder");
  bad(sign(), "link: neither a plain file nor a folder");
}

}  // namespace
}  // namespace tidelock
