// TestCa: a certificate authority for tests. Writes PEM files with new P-256 keys.
#pragma once

#include <memory>
#include <string>
#include <vector>

namespace posthouse::testing {

class TestCa {
 public:
  struct Files {
    std::string certificate;
    std::string private_key;
  };
  // Files go below `directory` (TEST_TMPDIR), which exists.
  TestCa(const std::string& directory, const std::string& name);
  ~TestCa();
  TestCa(const TestCa&) = delete;

  // PEM of the authority's own certificate.
  const std::string& ca_file() const;
  // Issues a certificate with `common_name`; `sans` are DNS names or IP addresses. A
  // second call with one `file_name` replaces each file atomically, the key first. It is
  // valid from `from` to `to`, in seconds from now.
  Files Issue(const std::string& file_name, const std::string& common_name, const std::vector<std::string>& sans,
              int from = -3600, int to = 24 * 3600);

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace posthouse::testing
