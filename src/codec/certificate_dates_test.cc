#include "codec/certificate_dates.h"

#include <gtest/gtest.h>

namespace tidelock {
namespace {

constexpr Validity kCaDates{1'000'000'000, 2'000'000'000};
constexpr Validity kNodeDates{1'500'000'000, 1'500'086'400};

TEST(CertificateDates, AreThoseItWasIssuedWith) {
  const auto ca = make_ca("c", kCaDates);
  ASSERT_TRUE(ca);
  const auto node = issue_certificate(*ca, {NodeRole::kEdge, "edge-1"}, {}, kNodeDates);
  ASSERT_TRUE(node);
  const auto dates = validity_of_certificate(node->certificate_pem);
  ASSERT_TRUE(dates) << dates.error().message;
  EXPECT_EQ(dates->not_before_s, kNodeDates.not_before_s);
  EXPECT_EQ(dates->not_after_s, kNodeDates.not_after_s);
}

TEST(CertificateDates, TheChainIsCheckedWhateverTheDates) {
  const auto ca = make_ca("c", kCaDates), other = make_ca("c", kCaDates);
  ASSERT_TRUE(ca && other);
  const auto node = issue_certificate(*ca, {NodeRole::kHub, "hub-1"}, {}, kNodeDates);  // over since long
  ASSERT_TRUE(node);
  EXPECT_TRUE(check_signed_by(node->certificate_pem, ca->certificate_pem));
  EXPECT_TRUE(check_signed_by(node->certificate_pem, other->certificate_pem + ca->certificate_pem))
      << "two CAs while one is being replaced";
  const auto stranger = check_signed_by(node->certificate_pem, other->certificate_pem);
  ASSERT_FALSE(stranger) << "a CA of the same name is another CA";
  EXPECT_EQ(stranger.error().code, Code::kDenied);
}

TEST(CertificateDates, WhatIsNoCertificateIsSaid) {
  const auto ca = make_ca("c", kCaDates);
  ASSERT_TRUE(ca);
  EXPECT_EQ(validity_of_certificate("x").error().code, Code::kCorrupt);
  EXPECT_EQ(validity_of_certificate(std::string(65'537, 'x')).error().code, Code::kInvalid);
  EXPECT_EQ(check_signed_by("x", ca->certificate_pem).error().code, Code::kCorrupt);
  EXPECT_EQ(check_signed_by(ca->certificate_pem, "x").error().code, Code::kCorrupt);
  EXPECT_EQ(check_signed_by(ca->certificate_pem, std::string(65'537, 'x')).error().code, Code::kInvalid);
}

}  // namespace
}  // namespace tidelock
