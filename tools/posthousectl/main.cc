// posthousectl: the administrator's command line.
#include <cstdlib>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "tools/posthousectl/run.h"

int main(int argc, char** argv) {
  const auto environment = [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  };
  return posthouse::ctl::Run(std::vector<std::string>(argv + 1, argv + argc), environment, std::cin, std::cout,
                             std::cerr);
}
