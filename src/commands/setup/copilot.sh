# GitHub Copilot CLI: put this into your shell's startup file and replace MODEL
# with a model name. If Copilot gets no token, it does not say why. This does:
#   {{call}} status
export COPILOT_PROVIDER_BASE_URL='{{url}}'
export COPILOT_PROVIDER_TYPE=openai
export COPILOT_PROVIDER_WIRE_API=responses
export COPILOT_PROVIDER_API_KEY_COMMAND='{{line}}'
export COPILOT_PROVIDER_HEADERS='{{header_lines}}'
export COPILOT_MODEL=MODEL
