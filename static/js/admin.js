// Entry of the administration's lists: downloads that tell how far they are.
import { startDownloads } from "./download.js";
import { startToasts } from "./toast.js";

startToasts();
startDownloads();
