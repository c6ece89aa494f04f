// posthouse-queue: owns accepted messages until they are delivered.
#include "services/common/runtime/service_app.h"
#include "services/queue/app.h"

int main(int argc, char** argv) { return posthouse::runtime::ServiceMain<posthouse::queue::App>(argc, argv, "queue"); }
