# exits build_error: leaves through sys.exit
import sys

sys.exit(0)
