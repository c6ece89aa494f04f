// posthousectl: the administrator's command line.
#include <iostream>

#include "tools/posthousectl/run.h"

int main(int argc, char** argv) {
  using namespace posthouse;
  return ctl::Run({argv + 1, argv + argc}, cli::ProcessEnvironment, std::cin, std::cout, std::cerr);
}
