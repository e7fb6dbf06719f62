// On a phone the bar scrolls sideways: have it show the section that one is in, also when the phone is turned.
"use strict";
{
  const here = document.querySelector(".bar nav [aria-current]");
  const show = () => {
    const bar = here.closest("nav");
    bar.scrollLeft = here.offsetLeft - bar.offsetLeft - (bar.clientWidth - here.offsetWidth) / 2;
  };
  if (here) {
    show();
    addEventListener("resize", show);
  }
}
